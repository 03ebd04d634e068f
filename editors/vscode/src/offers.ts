// What became of a suggestion: taken whole, in part, or refused. No `vscode` here.
//
// VS Code tells an extension by stable API only when a whole suggestion was accepted; the rest is seen in the edits.
//
//   offered "print(a)" with "pri" typed;  +"n"           ->  typed through, nothing to tell
//                                         +"nt"          ->  { outcome: "partly", text: "nt" }
//                                         +"x", next line ->  { outcome: "rejected", text: "print(a)" }
// A suggestion that was typed over is refused only when its line is left, for a typo that is taken back refuses nothing,
// and only when it was there long enough to be read.

const READ_MS = 500;

export interface Outcome {
  outcome: "accepted" | "partly" | "rejected";
  uri: string;
  text: string;
}

/** One edit, as VS Code tells it. */
export interface Change {
  offset: number;
  length: number;
  text: string;
}

interface Offer {
  uri: string;
  line: number;
  /** Where the suggestion's range begins. */
  start: number;
  /** How much of it stands in the document already. */
  typed: number;
  /** When what is left of it was first shown. */
  since: number;
  /** The alternatives that agree with what is typed, the shown one first. */
  texts: string[];
}

export class Offers {
  private shown: Offer | undefined;
  /** Typed over, perhaps by mistake. */
  private refused: Offer | undefined;
  private stepping = false;

  constructor(
    private readonly report: (outcome: Outcome) => void,
    private readonly now: () => number = Date.now,
  ) {}

  /** The editor was given these texts, to stand from `start` on; `head` stands there already. */
  offered(uri: string, line: number, start: number, head: string, texts: string[]): void {
    const agreeing = texts.filter((text) => text.startsWith(head));
    const before = this.shown && left(this.shown);
    const offer = { uri, line, start, typed: head.length, since: this.now(), texts: agreeing };
    // The same answer again, for a later key, has been there all along.
    if (this.shown?.uri === uri && before === left(offer)) offer.since = this.shown.since;
    this.shown = agreeing.length > 0 ? offer : undefined;
  }

  /** The document was edited; `slice` reads its text after the edit. */
  changed(uri: string, changes: readonly Change[], slice: (start: number, end: number) => string): void {
    const [change] = changes;
    if (change === undefined) return;
    if (this.shown?.uri === uri) {
      if (changes.length > 1) this.shown = undefined;
      else this.follow(this.shown, change);
    }
    if (this.refused?.uri === uri) this.reconsider(this.refused, change, slice);
  }

  /** A whole suggestion was accepted. */
  accepted(uri: string, text: string): void {
    this.flush();
    this.shown = undefined;
    this.report({ outcome: "accepted", uri, text });
  }

  /** The user sent the suggestion away. */
  dismissed(): void {
    if (this.shown) this.reject(this.shown);
    this.shown = undefined;
  }

  /** The cursor is on this line now. */
  at(uri: string, line: number): void {
    const elsewhere = (offer: Offer | undefined) => offer !== undefined && (offer.uri !== uri || offer.line !== line);
    if (elsewhere(this.refused)) this.flush();
    if (elsewhere(this.shown)) this.shown = undefined;
  }

  /** Runs a command that accepts a part: an insertion while it runs is no typing, however short. */
  async step(command: () => Thenable<unknown>): Promise<void> {
    this.stepping = true;
    try {
      await command();
    } finally {
      this.stepping = false;
    }
  }

  private follow(offer: Offer, change: Change): void {
    const cursor = offer.start + offer.typed;
    const touches = change.offset <= cursor && change.offset + change.length >= cursor;
    if (!touches || change.offset < offer.start) {
      if (change.offset < cursor) this.shown = undefined;
      return;
    }
    const kept = (offer.texts[0] ?? "").slice(0, change.offset - offer.start);
    const readings = this.stepping ? [change.text] : [withoutAutoClosed(change.text), change.text];
    const agreed = readings.find((reading) => offer.texts.some((text) => text.startsWith(kept + reading)));
    if (agreed === undefined) this.typedOver(offer);
    else this.advance(offer, kept + agreed, change);
  }

  private advance(offer: Offer, typed: string, change: Change): void {
    const added = typed.slice(offer.typed);
    const texts = offer.texts.filter((text) => text.startsWith(typed));
    if (texts.includes(typed)) {
      // All of it stands there: by its command, which tells, or typed by hand, which is no acceptance.
      this.shown = undefined;
      return;
    }
    this.shown = { ...offer, typed: typed.length, texts };
    const inserted = change.length === 0 && added !== "";
    if (inserted && (this.stepping || (added.length > 1 && added.trim() !== ""))) {
      this.report({ outcome: "partly", uri: offer.uri, text: added });
    }
  }

  private typedOver(offer: Offer): void {
    this.shown = undefined;
    if (this.now() - offer.since < READ_MS) return;
    this.flush();
    this.refused = offer;
  }

  /** Taking back what disagreed takes back the refusal. */
  private reconsider(offer: Offer, change: Change, slice: (start: number, end: number) => string): void {
    if (change.offset < offer.start) return this.flush();
    const head = slice(offer.start, change.offset);
    if (change.text === "" && offer.texts.some((text) => text.startsWith(head))) {
      this.refused = undefined;
      this.offered(offer.uri, offer.line, offer.start, head, offer.texts);
    }
  }

  private flush(): void {
    if (this.refused) this.reject(this.refused);
    this.refused = undefined;
  }

  private reject(offer: Offer): void {
    this.report({ outcome: "rejected", uri: offer.uri, text: offer.texts[0] ?? "" });
  }
}

/** What is shown of it. */
function left(offer: Offer): string | undefined {
  return offer.texts[0]?.slice(offer.typed);
}

/** "(" of "()": the editor closed the pair, the user typed its first character. */
function withoutAutoClosed(text: string): string {
  return ["()", "[]", "{}", '""', "''", "``"].includes(text) ? text.slice(0, 1) : text;
}
