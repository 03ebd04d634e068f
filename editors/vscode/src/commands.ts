// The commands, the menu behind the status bar item, and choosing a model.
//
//   infill.toggleLanguage in a Markdown file   ->   "infill.languages": ["!markdown"]
import { execFile } from "node:child_process";
import * as vscode from "vscode";
import type { Offers } from "./offers";
import { ACCEPTED, type Server } from "./server";
import { chosen, covers, toggled } from "./settings";
import { counts } from "./status";
import type { StatusBar } from "./statusBar";

const REPORT = "infill-doctor";
let reports = 0;

type Run = (...args: string[]) => unknown;

/** Registers all commands; package.json describes them. */
export function register(context: vscode.ExtensionContext, server: Server, bar: StatusBar, offers: Offers): void {
  const commands: Record<string, Run> = {
    ...suggestionCommands(offers),
    "infill.toggle": () => write("enabled", !isOn(bar)),
    "infill.toggleLanguage": toggleLanguage,
    "infill.restart": () => server.restart(),
    "infill.showLog": () => server.log.show(),
    "infill.menu": () => menu(server, bar),
    "infill.selectModel": selectModel,
    "infill.doctor": () => doctor(server),
    "infill.version": () => version(context, server),
    "infill.openSettings": () => vscode.commands.executeCommand("workbench.action.openSettings", `@ext:${context.extension.id}`),
    // README.md, by the name that a .vsix gives it.
    "infill.install": () => vscode.commands.executeCommand("markdown.showPreview", vscode.Uri.joinPath(context.extensionUri, "readme.md")),
    [ACCEPTED]: (uri = "", text = "") => offers.accepted(uri, text),
  };
  for (const [name, run] of Object.entries(commands)) {
    context.subscriptions.push(vscode.commands.registerCommand(name, run));
  }
  const reader = { provideTextDocumentContent: () => report(server) };
  context.subscriptions.push(vscode.workspace.registerTextDocumentContentProvider(REPORT, reader));
}

/** VS Code's own commands, with word to the server of what was taken or refused. */
function suggestionCommands(offers: Offers): Record<string, Run> {
  const inline = (name: string) => () => vscode.commands.executeCommand(`editor.action.inlineSuggest.${name}`);
  return {
    "infill.suggest": inline("trigger"),
    "infill.nextSuggestion": inline("showNext"),
    "infill.previousSuggestion": inline("showPrevious"),
    "infill.acceptWord": () => offers.step(inline("acceptNextWord")),
    "infill.acceptLine": () => offers.step(inline("acceptNextLine")),
    "infill.dismiss": () => {
      offers.dismissed();
      return inline("hide")();
    },
  };
}

function settings(): vscode.WorkspaceConfiguration {
  return vscode.workspace.getConfiguration("infill");
}

/** Writes where the value in force comes from: a workspace's value would hide the user's. */
function write(key: string, value: unknown): Thenable<void> {
  const inWorkspace = settings().inspect(key)?.workspaceValue !== undefined;
  return settings().update(key, value, inWorkspace ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global);
}

/** The configuration file may have turned it off as well: the server's word counts too. */
function isOn(bar: StatusBar): boolean {
  return bar.current.state !== "off" && settings().get("enabled", true);
}

function toggleLanguage(): Thenable<void> | undefined {
  const language = vscode.window.activeTextEditor?.document.languageId;
  if (!language) {
    void vscode.window.showInformationMessage("infill: open a file of the language first.");
    return undefined;
  }
  const languages = toggled(settings().get<string[]>("languages", []), language);
  // An empty list would hide the one in config.toml.
  return write("languages", languages.length > 0 ? languages : undefined);
}

interface Entry extends vscode.QuickPickItem {
  command?: string;
}

async function menu(server: Server, bar: StatusBar): Promise<void> {
  const answer = await server.status().catch(() => ({}));
  const { message, hint } = bar.current;
  const picked = await vscode.window.showQuickPick(entries(isOn(bar), counts(answer)), {
    title: "infill",
    placeHolder: [message, hint].filter((part) => part).join(" ") || undefined,
  });
  if (picked?.command) await vscode.commands.executeCommand(picked.command);
}

function entries(enabled: boolean, counted: string): Entry[] {
  const language = vscode.window.activeTextEditor?.document.languageId;
  const here = language !== undefined && covers(settings().get<string[]>("languages", []), language);
  const model = chosen(settings().inspect("model"));
  return [
    { label: enabled ? "$(circle-slash) Turn off" : "$(check) Turn on", command: "infill.toggle" },
    ...(language ? [{ label: `${here ? "$(circle-slash) Turn off" : "$(check) Turn on"} for ${language}`, command: "infill.toggleLanguage" }] : []),
    { label: "$(symbol-misc) Model…", description: typeof model === "string" ? model : "", command: "infill.selectModel" },
    { label: "$(debug-restart) Restart the server", command: "infill.restart" },
    { label: "$(output) Show the log", command: "infill.showLog" },
    { label: "$(checklist) Check the installation", description: "infill doctor", command: "infill.doctor" },
    { label: "$(gear) Settings", command: "infill.openSettings" },
    { label: "This session", kind: vscode.QuickPickItemKind.Separator },
    { label: `$(graph) ${counted}` },
  ];
}

/** Asks for a model and writes it to the user's settings; that restarts the server. */
async function selectModel(): Promise<void> {
  const kinds = [
    { label: "nano", description: "small, inside the program", choose: async () => "nano" },
    { label: "A folder…", description: "config.json, safetensors, tokenizer.json", choose: () => pick({ canSelectFolders: true, canSelectFiles: false }) },
    { label: "A GGUF file…", choose: () => pick({ filters: { GGUF: ["gguf"] } }) },
    { label: "As configured elsewhere", description: "config.toml, INFILL_MODEL", choose: async () => "" },
  ];
  const kind = await vscode.window.showQuickPick(kinds, { title: "infill: which model?" });
  const model = await kind?.choose();
  if (model !== undefined) await settings().update("model", model || undefined, vscode.ConfigurationTarget.Global);
}

async function pick(options: vscode.OpenDialogOptions): Promise<string | undefined> {
  const picked = await vscode.window.showOpenDialog({ ...options, openLabel: "Use as model" });
  return picked?.[0]?.fsPath;
}

/** What `infill doctor` says, as a text to read. */
async function doctor(server: Server): Promise<void> {
  if (!server.found) {
    await server.restart();
    return;
  }
  // A number makes it a new text: VS Code keeps what it has shown.
  const uri = vscode.Uri.from({ scheme: REPORT, path: `infill doctor ${++reports}` });
  await vscode.window.showTextDocument(uri, { preview: true });
}

/** It exits with 1 when something needs a remedy: that is a report too. */
function report(server: Server): Promise<string> {
  const program = server.found?.path ?? "infill";
  return new Promise((resolve) => {
    execFile(program, ["doctor"], { timeout: 60_000, windowsHide: true }, (error, out, said) => {
      resolve(`${program} doctor\n\n${out + said || String(error)}`);
    });
  });
}

function version(context: vscode.ExtensionContext, server: Server): void {
  const program = server.found ? `infill ${server.found.version} at ${server.found.path}` : "no usable infill program was found";
  void vscode.window.showInformationMessage(`Extension ${context.extension.packageJSON.version}; ${program}.`);
}
