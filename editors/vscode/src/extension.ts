// The extension: starts the server and connects the editor's events with it.
//
//   edit, selection   ->  offers (what became of a suggestion)  ->  infill/outcome
//   selection         ->  infill/cursor, when the cursor moved without an edit
//   settings          ->  workspace/didChangeConfiguration, or a new server
import * as vscode from "vscode";
import { register } from "./commands";
import { Offers } from "./offers";
import { SELECTOR, Server } from "./server";
import { covers, RESTART_KEYS } from "./settings";
import { StatusBar } from "./statusBar";

const CURSOR_MS = 100;

let server: Server | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const bar = new StatusBar();
  const offers = new Offers((outcome) => server?.outcome(outcome));
  server = new Server(context, (status) => bar.show(status), offers);
  context.subscriptions.push(bar, server.log);
  register(context, server, bar, offers);
  watch(context, server, bar, offers);
  await server.restart();
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}

function watch(context: vscode.ExtensionContext, server: Server, bar: StatusBar, offers: Offers): void {
  const cursor = new CursorWatch(server);
  context.subscriptions.push(
    vscode.workspace.onDidChangeTextDocument((event) => {
      followEdit(event, offers);
      server.late.moved(event.document.uri.toString(), { version: event.document.version });
    }),
    vscode.window.onDidChangeTextEditorSelection((event) => {
      const { document, selection } = event.textEditor;
      offers.at(document.uri.toString(), selection.active.line);
      cursor.moved(document, selection);
      const { line, character } = selection.active;
      server.late.moved(document.uri.toString(), { line, character });
    }),
    vscode.window.onDidChangeActiveTextEditor((editor) => {
      server.late.looking(editor?.document.uri.toString());
      bar.draw();
    }),
    vscode.workspace.onDidOpenTextDocument(() => bar.draw()),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (RESTART_KEYS.some((key) => event.affectsConfiguration(`infill.${key}`))) void server.restart();
      else if (event.affectsConfiguration("infill")) server.sendSettings();
      bar.draw();
    }),
    cursor,
  );
}

function followEdit({ document, contentChanges }: vscode.TextDocumentChangeEvent, offers: Offers): void {
  const slice = (start: number, end: number) => document.getText(new vscode.Range(document.positionAt(start), document.positionAt(end)));
  const changes = contentChanges.map(({ rangeOffset, rangeLength, text }) => ({ offset: rangeOffset, length: rangeLength, text }));
  offers.changed(document.uri.toString(), changes, slice);
}

/** Tells the server of cursor moves that no edit caused, at most every 100 ms. */
class CursorWatch {
  private timer: NodeJS.Timeout | undefined;
  private seen: { uri: string; version: number } | undefined;

  constructor(private readonly server: Server) {}

  moved(document: vscode.TextDocument, selection: vscode.Selection): void {
    const [uri, version] = [document.uri.toString(), document.version];
    const edited = this.seen?.uri === uri && this.seen.version !== version;
    this.seen = { uri, version };
    clearTimeout(this.timer);
    if (edited || !selection.isEmpty || !served(document)) return;
    this.timer = setTimeout(() => {
      if (document.version === version) this.server.cursor(document, selection.active);
    }, CURSOR_MS);
  }

  dispose(): void {
    clearTimeout(this.timer);
  }
}

function served(document: vscode.TextDocument): boolean {
  const languages = vscode.workspace.getConfiguration("infill").get<string[]>("languages", []);
  return vscode.languages.match(SELECTOR, document) > 0 && covers(languages, document.languageId);
}
