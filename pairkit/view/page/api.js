// Questions to the server, each with the token. It goes in a header: not in an address, which logs and histories keep,
// and not in a cookie, which browsers would send to every port of this machine.

const STORED = "pairkit-token";

/** Take the token out of the address, at once, so that the address can be sent; this tab remembers it. */
export function takeToken() {
  const fields = new URLSearchParams(location.hash.slice(1));
  const token = fields.get("token");
  if (token === null) return;
  sessionStorage.setItem(STORED, token);
  fields.delete("token");
  history.replaceState(null, "", `${location.pathname}#${fields}`);
}

export const setToken = (token) => sessionStorage.setItem(STORED, token.trim());

export class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options) {
  const headers = { "X-Pairkit-Token": encodeURI(sessionStorage.getItem(STORED) ?? ""), ...options.headers };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("pairkit view no longer answers: it has ended, or this machine is busy", 0);
  }
  const answer = await response.json();
  if (!response.ok) throw new Problem(answer.error ?? response.statusText, response.status);
  return answer;
}

export function get(path, parameters = {}, signal = undefined) {
  const query = new URLSearchParams(parameters);
  return ask(`${path}${query.size ? `?${query}` : ""}`, { signal });
}

export function post(path, body, signal = undefined) {
  return ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}
