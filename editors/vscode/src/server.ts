// The server process and the language client on it: found, started, watched, started anew.
//
//   const server = new Server(context, { status: show, offers });
//   await server.restart();            // also after a change of infill.path, infill.model, ...
import { homedir } from "node:os";
import path from "node:path";
import * as vscode from "vscode";
import { CloseAction, ErrorAction, LanguageClient, RevealOutputChannelOn } from "vscode-languageclient/node";
import type { ErrorHandler, LanguageClientOptions, Middleware, StaticFeature } from "vscode-languageclient/node";
import { type Found, find, NoBinary } from "./binary";
import { Late, type Place } from "./late";
import type { Offers, Outcome } from "./offers";
import { Restarts } from "./restarts";
import { collect, serverKeys } from "./settings";
import type { Status } from "./status";

export const ACCEPTED = "infill.accepted";

/** Where suggestions are wanted; the server decides by language. */
export const SELECTOR = [{ scheme: "file" }, { scheme: "untitled" }];

export class Server {
  readonly log = vscode.window.createOutputChannel("infill", { log: true });
  readonly late = new Late<vscode.CancellationToken, vscode.InlineCompletionItem>(
    () => void vscode.commands.executeCommand("editor.action.inlineSuggest.trigger"),
    () => new vscode.CancellationTokenSource(),
  );
  found: Found | undefined;
  private client: LanguageClient | undefined;
  private turn: Promise<void> = Promise.resolve();

  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly show: (status: Status) => void,
    private readonly offers: Offers,
  ) {}

  /** Stops what runs and starts anew, one after the other however often it is called. */
  restart(): Promise<void> {
    this.turn = this.turn.then(() => this.stop()).then(() => this.start());
    return this.turn;
  }

  async stop(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    await client?.dispose().catch((error: unknown) => this.log.warn(`stopping: ${String(error)}`));
  }

  /** `infill/status`: the model and the counts. */
  async status(): Promise<Record<string, unknown>> {
    return (await this.client?.sendRequest<Record<string, unknown>>("infill/status")) ?? {};
  }

  /** Sends what the user has set now. */
  sendSettings(): void {
    this.notify("workspace/didChangeConfiguration", { settings: { infill: this.settings() } });
  }

  outcome({ outcome, uri, text }: Outcome): void {
    this.notify("infill/outcome", { textDocument: { uri }, outcome, text });
  }

  cursor(document: vscode.TextDocument, position: vscode.Position): void {
    const { line, character } = position;
    this.notify("infill/cursor", { textDocument: { uri: document.uri.toString() }, position: { line, character } });
  }

  private notify(method: string, params: object): void {
    if (!this.client?.isRunning()) return;
    this.client.sendNotification(method, params).catch((error: unknown) => this.log.warn(`${method}: ${String(error)}`));
  }

  private settings(): Record<string, unknown> {
    const config = vscode.workspace.getConfiguration("infill");
    return collect(serverKeys(this.context.extension.packageJSON), (key) => config.inspect(key));
  }

  private async start(): Promise<void> {
    this.show({ state: "loading" });
    try {
      const found = (this.found = await find(this.places(), this.ownVersion()));
      this.log.info(`infill ${found.version} at ${found.path}`);
      this.client = this.connect(found.path);
      await this.client.start();
    } catch (error) {
      this.failed(error);
    }
  }

  private places() {
    const setting = vscode.workspace.getConfiguration("infill").get<string>("path", "").trim();
    const bundled = path.join(this.context.extensionPath, "bin");
    return { setting, bundled, home: homedir(), env: process.env, platform: process.platform };
  }

  private ownVersion(): string {
    return this.context.extension.packageJSON.version;
  }

  private connect(command: string): LanguageClient {
    const args = commandLine(vscode.workspace.getConfiguration("infill"));
    const client = new LanguageClient("infill", "infill", { command, args }, this.options());
    client.registerFeature(wantsStatus);
    client.onNotification("infill/didChangeStatus", (status: Status) => this.show(status));
    return client;
  }

  private options(): LanguageClientOptions {
    return {
      documentSelector: SELECTOR,
      initializationOptions: () => this.settings(),
      outputChannel: this.log,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      initializationFailedHandler: () => false,
      errorHandler: this.errorHandler(),
      middleware: this.middleware(),
    };
  }

  private middleware(): Middleware {
    return {
      workspace: { configuration: ({ items }) => items.map(() => this.settings()) },
      provideInlineCompletionItems: async (document, position, context, token, next) => {
        const place = placeOf(document, position, context);
        const items = await this.late.ask(place, token, async (lasting) => {
          const answer = await next(document, position, context, lasting);
          return Array.isArray(answer) ? answer : (answer?.items ?? []);
        });
        items.forEach((item) => (item.command = told(document, item)));
        if (!token.isCancellationRequested && document.version === place.version) this.track(document, position, items);
        return items;
      },
    };
  }

  /** What the editor is about to show. */
  private track(document: vscode.TextDocument, position: vscode.Position, items: vscode.InlineCompletionItem[]): void {
    const start = items[0]?.range?.start ?? position;
    const head = document.getText(new vscode.Range(start, position));
    this.offers.offered(document.uri.toString(), start.line, document.offsetAt(start), head, items.map(textOf));
  }

  /** A server that dies is started again in silence, a few times. */
  private errorHandler(): ErrorHandler {
    const restarts = new Restarts();
    return {
      // What is written to a server that just died is no news: its end is.
      error: () => ({ action: ErrorAction.Continue, handled: true }),
      closed: () => {
        const again = restarts.died(Date.now());
        if (again) this.show({ state: "loading", message: "The server stopped and is being started again." });
        else this.complain(restarts.message(), "Look at the log, then restart it.", ["Restart", "Show log"]);
        return { action: again ? CloseAction.Restart : CloseAction.DoNotRestart, handled: true };
      },
    };
  }

  private failed(error: unknown): void {
    if (error instanceof NoBinary) {
      this.complain(error.message, error.hint, ["Open settings", "How to install"]);
    } else {
      this.complain(`The infill server did not start: ${reason(error)}.`, "Look at the log.", ["Show log", "Restart"]);
    }
  }

  private complain(message: string, hint: string, buttons: string[]): void {
    this.log.error(`${message} ${hint}`);
    this.show({ state: "error", message, hint });
    void vscode.window.showErrorMessage(`${message} ${hint}`, ...buttons).then((button) => press(button));
  }
}

/** Says to the server that `infill/didChangeStatus` is understood. */
const wantsStatus: StaticFeature = {
  fillClientCapabilities: (capabilities) => {
    capabilities.experimental = { ...capabilities.experimental, infill: { status: true } };
  },
  initialize: () => {},
  getState: () => ({ kind: "static" }),
  clear: () => {},
};

function commandLine(config: vscode.WorkspaceConfiguration): string[] {
  const option = (name: string, value: unknown) => (typeof value === "string" && value !== "" ? [name, value] : []);
  return ["lsp", ...option("--model", config.inspect("model")?.globalValue), ...option("--log", config.get("log"))];
}

function placeOf(document: vscode.TextDocument, position: vscode.Position, context: vscode.InlineCompletionContext): Place {
  const { line, character } = position;
  return { uri: document.uri.toString(), version: document.version, line, character, selected: context.selectedCompletionInfo?.text };
}

/** A command that runs when the whole item was accepted. */
function told(document: vscode.TextDocument, item: vscode.InlineCompletionItem): vscode.Command {
  return { title: "accepted", command: ACCEPTED, arguments: [document.uri.toString(), textOf(item)] };
}

function textOf(item: vscode.InlineCompletionItem): string {
  return typeof item.insertText === "string" ? item.insertText : item.insertText.value;
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function press(button: string | undefined): void {
  const commands: Record<string, [string, ...unknown[]]> = {
    "Open settings": ["workbench.action.openSettings", "infill.path"],
    "How to install": ["infill.install"],
    Restart: ["infill.restart"],
    "Show log": ["infill.showLog"],
  };
  const command = commands[button ?? ""];
  if (command) void vscode.commands.executeCommand(...command);
}
