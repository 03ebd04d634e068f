// Answers that come after VS Code stopped waiting. No `vscode` here.
//
// Where its own menu may open by itself, VS Code gives ghost text 750 ms; then it withdraws the question and opens the
// menu, empty or not (`editor.quickSuggestions`: "offWhenInlineCompletions", 1.139's default). An engine may need
// longer. So a withdrawn question goes on as long as text and cursor stay, and its answer is offered when it comes:
//
//   0 ms "i" typed, asked;   750 ms withdrawn by VS Code;   1000 ms answered: kept, VS Code is told to ask again
//   1050 ms asked again: the kept answer;   another key at any time: withdrawn for good

/** Who withdraws sooner does not stop waiting: a key was pressed, or the editor has lost the focus. */
const LEAST_MS = 500;

/** The key whose pressing withdraws a question may be known only after the withdrawal. */
const SETTLE_MS = 50;

export interface Place {
  uri: string;
  version: number;
  line: number;
  character: number;
  /** The menu's selected entry, if it is open. */
  selected?: string | undefined;
}

interface Token {
  readonly isCancellationRequested: boolean;
  readonly onCancellationRequested: (listener: () => void) => { dispose(): void };
}

interface Source<T extends Token> {
  readonly token: T;
  cancel(): void;
  dispose(): void;
}

export class Late<T extends Token, Item> {
  private waiting: { place: Place; source: Source<T> } | undefined;
  private kept: { place: Place; items: Item[] } | undefined;

  constructor(
    /** Makes the editor ask again. */
    private readonly offer: () => void,
    private readonly source: () => Source<T>,
    private readonly later: (what: () => void, ms: number) => unknown = setTimeout,
    private readonly now: () => number = Date.now,
  ) {}

  /** Asks by `send`, whose token outlives the editor's while the place stays the same; or gives what was kept for it. */
  async ask(place: Place, token: T, send: (token: T) => Promise<Item[]>): Promise<Item[]> {
    const kept = this.kept;
    this.forget();
    if (kept && same(kept.place, place)) return kept.items;
    const source = this.source();
    this.waiting = { place, source };
    const begun = this.now();
    const withdrawn = token.onCancellationRequested(() => this.now() - begun < LEAST_MS && source.cancel());
    try {
      const items = await send(source.token);
      const missed = token.isCancellationRequested && !source.token.isCancellationRequested;
      if (missed && items.length > 0) this.keep(place, items);
      return items;
    } finally {
      if (this.waiting?.source === source) this.waiting = undefined;
      withdrawn.dispose();
      source.dispose();
    }
  }

  /** A text was edited, or the cursor in it went elsewhere, perhaps. */
  moved(uri: string, now: Partial<Place>): void {
    const place = this.waiting?.place ?? this.kept?.place;
    if (place?.uri === uri && !same(place, { ...place, ...now })) this.forget();
  }

  /** This text is looked at now. */
  looking(uri: string | undefined): void {
    const place = this.waiting?.place ?? this.kept?.place;
    if (place?.uri !== uri) this.forget();
  }

  private forget(): void {
    this.waiting?.source.cancel();
    this.waiting = this.kept = undefined;
  }

  private keep(place: Place, items: Item[]): void {
    const kept = (this.kept = { place, items });
    this.later(() => this.kept === kept && this.offer(), SETTLE_MS);
  }
}

function same(a: Place, b: Place): boolean {
  const at = (place: Place) => JSON.stringify([place.uri, place.version, place.line, place.character, place.selected ?? null]);
  return at(a) === at(b);
}
