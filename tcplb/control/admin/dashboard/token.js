// The token that changes need. It is kept for this tab only, and can be forgotten.

const NAME = "tcplb.token";

export function held() {
  return sessionStorage.getItem(NAME) !== null;
}

export function keep(token) {
  sessionStorage.setItem(NAME, token);
}

export function forget() {
  sessionStorage.removeItem(NAME);
}

/** The header that carries it, if there is one. */
export function authorization() {
  return held() ? { Authorization: `Bearer ${sessionStorage.getItem(NAME)}` } : {};
}
