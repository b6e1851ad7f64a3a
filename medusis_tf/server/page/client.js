// Requests to the server; all addresses are relative to the page.

let token = sessionStorage.getItem("medusis-token");
// People behind one address keep their own volumes.
const client = Array.from(crypto.getRandomValues(new Uint8Array(16)), (each) => each.toString(16)).join("-");

export class ServerError extends Error {}

export function setToken(value) {
  token = value;
  sessionStorage.setItem("medusis-token", value);
}

export async function request(path, options = {}) {
  const headers = { "X-Client": client, ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path.replace(/^\//, ""), { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  const error = new ServerError(answer.error || `The server answered ${response.status}.`);
  error.status = response.status;
  throw error;
}

export const json = async (path) => (await request(path)).json();
export const bytes = async (path) => (await request(path)).arrayBuffer();

// Start a job, and call `report` with each of its states. Returns the last one.
export async function synthesize(labelMap, values, report, signal) {
  const started = await request(`synthesize?${new URLSearchParams(values)}`, {
    method: "POST", body: labelMap, signal, headers: { Prefer: "respond-async" },
  });
  let state = await started.json();
  report(state);
  const cancel = () => request(`jobs/${state.job}`, { method: "DELETE" }).catch(() => {});
  signal.addEventListener("abort", cancel, { once: true });
  // EventSource cannot send the token.
  const response = await request(`jobs/${state.job}/events`, { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return state;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (data) report(state = JSON.parse(data.slice(6)));
    }
  }
}
