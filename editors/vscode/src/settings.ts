// The user's settings as the server takes them. No `vscode` here: what reads them is handed in.
//
//   { "infill.completion.lines": "one" } in settings.json   ->   { completion: { lines: "one" } }
//
// Only values that somebody set are sent: a default sent along would override the user's config.toml.

/** What `WorkspaceConfiguration.inspect` knows of one key. */
export interface Inspected {
  globalValue?: unknown;
  workspaceValue?: unknown;
  workspaceFolderValue?: unknown;
}

export type Inspect = (key: string) => Inspected | undefined;

/** Settings of the extension itself, and the model: a repository must not choose one, so it goes on the command line. */
export const EXTENSION_KEYS = ["path", "log", "model"];

/** A change of one of these needs a new server process; all others are sent to the running one. */
export const RESTART_KEYS = [...EXTENSION_KEYS, "completion.items"];

/** The keys that package.json contributes and the server knows, without the section's name. */
export function serverKeys(packageJson: { contributes: { configuration: { properties: object } } }): string[] {
  const keys = Object.keys(packageJson.contributes.configuration.properties).map((key) => key.replace(/^infill\./, ""));
  return keys.filter((key) => !EXTENSION_KEYS.includes(key));
}

/** What was set, nested as the server wants it. */
export function collect(keys: string[], inspect: Inspect): Record<string, unknown> {
  const settings: Record<string, unknown> = {};
  for (const key of keys) {
    const value = chosen(inspect(key));
    if (value !== undefined) put(settings, key.split("."), value);
  }
  return settings;
}

/** The value that wins among those somebody set. */
export function chosen(values: Inspected | undefined): unknown {
  return values?.workspaceFolderValue ?? values?.workspaceValue ?? values?.globalValue;
}

function put(into: Record<string, unknown>, [head, ...rest]: string[], value: unknown): void {
  if (head === undefined) return;
  if (rest.length === 0) into[head] = value;
  else put((into[head] ??= {}) as Record<string, unknown>, rest, value);
}

/** Whether the server completes in this language: empty means all, "!id" excludes one. */
export function covers(languages: string[], id: string): boolean {
  const included = languages.filter((language) => !language.startsWith("!"));
  return !languages.includes(`!${id}`) && (included.length === 0 || included.includes(id));
}

/** The list with this language the other way round; twice is the list it was, as far as it was plain. */
export function toggled(languages: string[], id: string): string[] {
  const allowed = languages.filter((language) => language !== `!${id}`);
  if (covers(languages, id)) return [...allowed, `!${id}`];
  return covers(allowed, id) ? allowed : [...allowed, id];
}
