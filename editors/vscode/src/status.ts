// What the status bar and its menu say. No `vscode` here.
//
//   present({ state: "ready", model: "nano", device: "cpu" }, { language: "python", covered: true })
//   ->  { text: "$(sparkle) nano (cpu)", tooltip: "infill is ready ...", severity: "none" }

export type State = "loading" | "ready" | "busy" | "off" | "error" | "downloading";

/** What `infill/didChangeStatus` carries. */
export interface Status {
  state: State;
  model?: string | null;
  device?: string | null;
  message?: string | null;
  hint?: string | null;
}

/** The active editor's language, and whether suggestions are wanted in it. */
export interface Here {
  language?: string;
  covered: boolean;
}

export interface Presented {
  text: string;
  tooltip: string;
  severity: "none" | "error";
}

const ICONS: Record<State, string> = {
  loading: "loading~spin",
  ready: "sparkle",
  busy: "loading~spin",
  off: "circle-slash",
  error: "error",
  downloading: "cloud-download",
};

const WORDS: Record<State, string> = {
  loading: "is loading its model",
  ready: "is ready",
  busy: "is thinking",
  off: "is off",
  error: "does not work",
  downloading: "is downloading its model",
};

const LONGEST_NAME = 28;

export function present(status: Status, here: Here): Presented {
  const offHere = !here.covered && (status.state === "ready" || status.state === "busy");
  const icon = offHere ? ICONS.off : ICONS[status.state];
  const head = offHere ? `infill is off for ${here.language}` : `infill ${WORDS[status.state]}`;
  const lines = [head, status.message, status.hint, modelLine(status), "Click for the menu."];
  return {
    text: `$(${icon}) ${label(status)}`,
    tooltip: lines.filter((line) => line).join("\n"),
    severity: status.state === "error" ? "error" : "none",
  };
}

function label(status: Status): string {
  if (!status.model || status.state === "error") return "infill";
  return status.device ? `${shortName(status.model)} (${status.device})` : shortName(status.model);
}

function modelLine(status: Status): string | undefined {
  if (!status.model) return undefined;
  return `Model: ${status.model}${status.device ? ` on ${status.device}` : ""}`;
}

/** The last part of a model's path, shortened in the middle. */
export function shortName(model: string): string {
  const name = model.split(/[/\\]/).filter((part) => part !== "").pop() ?? model;
  if (name.length <= LONGEST_NAME) return name;
  const half = Math.floor((LONGEST_NAME - 1) / 2);
  return `${name.slice(0, half)}…${name.slice(-half)}`;
}

/** The counts of `infill/status` as one line; absent ones count as none. */
export function counts(answer: Record<string, unknown>): string {
  const number = (key: string) => (typeof answer[key] === "number" ? answer[key] : 0);
  return `${number("shown")} shown, ${number("accepted")} accepted, ${number("partly")} in part, ${number("rejected")} rejected`;
}
