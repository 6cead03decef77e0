// Dark, light, or as the system is.

const NAME = "tcplb.theme";
export const THEMES = ["system", "light", "dark"];

export function theme() {
  const kept = localStorage.getItem(NAME);
  return THEMES.includes(kept) ? kept : "system";
}

export function setTheme(chosen) {
  localStorage.setItem(NAME, chosen);
  applyTheme();
}

export function applyTheme() {
  document.documentElement.dataset.theme = theme();
}

/** Call back whenever the colours change without being chosen here. */
export function onSystemTheme(callback) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", callback);
}

/** Whether the page is dark now. */
export function isDark() {
  const chosen = theme();
  return chosen === "system" ? matchMedia("(prefers-color-scheme: dark)").matches : chosen === "dark";
}
