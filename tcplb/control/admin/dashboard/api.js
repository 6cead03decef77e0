// Requests to the admin API, and what went wrong with them in words.

import { askForToken } from "./dialogs.js";
import { authorization, forget, held } from "./token.js";

export const API = "api/v1";
const SECONDS = 20;

/** Why a request failed: an RFC 9457 problem of the API, or that there was no answer. */
export class Problem extends Error {
  constructor(status, detail, problems = []) {
    super(detail);
    this.status = status;
    this.problems = problems;
  }
}

/** The user did not give the token after all. */
export class Cancelled extends Error {}

/** Ask for something. Raises Problem. */
export async function get(path, query = {}) {
  const wanted = Object.entries(query).filter(([, value]) => value !== "" && value !== null);
  const search = new URLSearchParams(wanted).toString();
  return request("GET", path + (search && `?${search}`));
}

/** Change something; asks for the token until the balancer takes it. Raises Problem, Cancelled. */
export async function change(method, path, body) {
  let why = "";
  for (;;) {
    if (!held() && !(await askForToken(why))) throw new Cancelled();
    try {
      return await request(method, path, body);
    } catch (problem) {
      if (problem.status !== 401) throw problem;
      forget();
      why = "The balancer has refused this token.";
    }
  }
}

/** The path of a backend; names may have any characters in them. */
export function pathOf(backend) {
  return `/backends/${encodeURIComponent(backend.pool)}/${encodeURIComponent(backend.name)}`;
}

/** The problem that an answer describes, whoever has sent it. */
export async function problemOf(response) {
  const text = await response.text();
  try {
    const told = JSON.parse(text);
    return new Problem(response.status, told.detail || told.title, told.problems);
  } catch {
    return new Problem(response.status, `The answer was ${response.status} ${response.statusText}.`);
  }
}

async function request(method, path, body) {
  const response = await answerTo(method, path, body);
  if (!response.ok) throw await problemOf(response);
  return response.json();
}

async function answerTo(method, path, body) {
  // To read, the browser sends the password that it had to ask for, if any.
  const headers = { Accept: "application/json" };
  if (method !== "GET") Object.assign(headers, authorization(), { "Content-Type": "application/json" });
  const signal = AbortSignal.timeout(SECONDS * 1000);
  try {
    return await fetch(API + path, {
      method,
      headers,
      body: JSON.stringify(body),
      signal,
      cache: "no-store",
    });
  } catch {
    throw new Problem(0, "The balancer does not answer.");
  }
}
