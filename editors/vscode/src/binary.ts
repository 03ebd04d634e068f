// Which `infill` to start, and whether it fits. No `vscode` here.
//
//   candidates({ setting: "", bundled: "/ext/bin", ... })   ->   ["/ext/bin/infill", "/usr/bin/infill", ...]
//   fits("infill 0.1.7", "0.1.2")                           ->   true
import { execFile } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import path from "node:path";

export interface Places {
  /** The setting `infill.path`; when it is set nothing else is tried. */
  setting: string;
  /** The extension's own bin folder. */
  bundled: string;
  home: string;
  env: Record<string, string | undefined>;
  platform: string;
}

export interface Found {
  path: string;
  version: string;
}

/** A binary that cannot be used: one sentence, and the remedy. */
export class NoBinary extends Error {
  constructor(
    message: string,
    readonly hint: string,
  ) {
    super(message);
  }
}

/** Where a binary may be, best first. */
export function candidates(places: Places): string[] {
  if (places.setting) return [places.setting.replace(/^~(?=[/\\]|$)/, places.home)];
  const { join } = places.platform === "win32" ? path.win32 : path.posix;
  const name = places.platform === "win32" ? "infill.exe" : "infill";
  const separator = places.platform === "win32" ? ";" : ":";
  const search = (places.env["PATH"] ?? places.env["Path"] ?? "").split(separator).filter((folder) => folder !== "");
  const folders = [places.bundled, ...search, join(places.home, ".cargo", "bin")];
  return [...new Set(folders.map((folder) => join(folder, name)))];
}

/** "0.1.0" of "infill 0.1.0"; undefined when it is not an answer of ours. */
export function parseVersion(output: string): string | undefined {
  return /^infill (\d+\.\d+\.\d+\S*)\s*$/.exec(output)?.[1];
}

/** Server and extension speak the same settings and notifications when major and minor agree. */
export function fits(version: string, own: string): boolean {
  const minor = (text: string) => text.split(".", 2).join(".");
  return minor(version) === minor(own);
}

/** The first candidate that fits; throws `NoBinary` with what to do. */
export async function find(places: Places, own: string, ask: (file: string) => Promise<string> = askVersion): Promise<Found> {
  let misfit: NoBinary | undefined;
  for (const file of candidates(places).filter(isProgram)) {
    const version = parseVersion(await ask(file).catch(() => ""));
    if (version !== undefined && fits(version, own)) return { path: file, version };
    misfit ??= version === undefined ? noAnswer(file) : otherVersion(file, version, own);
  }
  throw misfit ?? missing(places);
}

function missing(places: Places): NoBinary {
  if (places.setting) {
    return new NoBinary(`There is no program at "${places.setting}".`, "Correct the setting infill.path, or clear it to search PATH.");
  }
  return new NoBinary("The infill program was not found.", "Install it (cargo install infill), or set infill.path to where it is.");
}

function noAnswer(file: string): NoBinary {
  return new NoBinary(`"${file} --version" does not answer as infill does.`, "Set infill.path to the infill program.");
}

function otherVersion(file: string, version: string, own: string): NoBinary {
  const wanted = own.split(".", 2).join(".");
  const hint = `Install infill ${wanted} (cargo install infill), or set infill.path to one, or update the extension.`;
  return new NoBinary(`${file} is infill ${version}, this extension needs ${wanted}.`, hint);
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

function askVersion(file: string): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(file, ["--version"], { timeout: 10_000, windowsHide: true }, (error, out) => (error ? reject(error) : resolve(out)));
  });
}
