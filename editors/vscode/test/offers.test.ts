// What became of a suggestion, told from edits alone.
import assert from "node:assert/strict";
import test from "node:test";
import { Offers, type Outcome } from "../src/offers";

const U = "file:///a.py";

/** A document with a cursor at its end, offered texts for its last word, and what was reported. */
class Desk {
  readonly told: string[] = [];
  clock = 0;
  readonly offers = new Offers(({ outcome, text }: Outcome) => this.told.push(`${outcome} ${text}`), () => this.clock);
  constructor(public text = "x = pri") {}

  /** Offers, and gives time to read. */
  offer(...texts: string[]): this {
    return this.flash(...texts).wait(1000);
  }

  wait(ms: number): this {
    this.clock += ms;
    return this;
  }

  flash(...texts: string[]): this {
    const start = this.text.lastIndexOf(" ") + 1;
    this.offers.offered(U, 0, start, this.text.slice(start), texts);
    return this;
  }

  edit(offset: number, length: number, text: string): this {
    this.text = this.text.slice(0, offset) + text + this.text.slice(offset + length);
    this.offers.changed(U, [{ offset, length, text }], (a, b) => this.text.slice(a, b));
    return this;
  }

  type(text: string): this {
    return this.edit(this.text.length, 0, text);
  }

  back(): this {
    return this.edit(this.text.length - 1, 1, "");
  }

  leave(): string[] {
    this.offers.at(U, 1);
    return this.told;
  }
}

test("typing through is no outcome", () => {
  assert.deepEqual(new Desk().offer("print(a)").type("n").type("t").type("(").leave(), []);
});

test("typing all of it is no outcome either", () => {
  assert.deepEqual(new Desk("x = a").offer("ab").type("b").leave(), []);
});

test("accepted whole: its command tells, not the edit", () => {
  const desk = new Desk().offer("print(a)").edit(4, 3, "print(a)");
  assert.deepEqual(desk.told, []);
  desk.offers.accepted(U, "print(a)");
  assert.deepEqual(desk.leave(), ["accepted print(a)"]);
});

test("a part inserted at once is partly", () => {
  assert.deepEqual(new Desk().offer("print(a)").type("nt").leave(), ["partly nt"]);
});

test("a part of one character is partly when a command did it", async () => {
  const desk = new Desk().offer("print(a)");
  await desk.offers.step(async () => desk.type("n"));
  assert.deepEqual(desk.leave(), ["partly n"]);
});

test("an auto-closed bracket is typing", () => {
  const desk = new Desk("x = print").offer("print(a, b)").type("()");
  assert.deepEqual(desk.told, []);
  desk.edit(10, 0, "a");
  assert.deepEqual(desk.leave(), []);
});

test("typed over is rejected when the line is left", () => {
  const desk = new Desk().offer("print(a)").type("v");
  assert.deepEqual(desk.told, []);
  assert.deepEqual(desk.leave(), ["rejected print(a)"]);
});

test("what was typed over before it could be read is not refused", () => {
  assert.deepEqual(new Desk().flash("print(a)").wait(100).type("v").leave(), []);
  assert.deepEqual(new Desk().flash("print(a)").wait(400).type("n").flash("print(a)").wait(400).type("x").leave(), ["rejected print(a)"]);
});

test("a typo taken back refuses nothing", () => {
  assert.deepEqual(new Desk().offer("print(a)").type("x").back().type("n").leave(), []);
});

test("two suggestions typed over are two refusals", () => {
  assert.deepEqual(new Desk().offer("print(a)").type("v").offer("priv(b)").type("x").leave(), ["rejected print(a)", "rejected priv(b)"]);
});

test("Escape is rejected, once", () => {
  const desk = new Desk().offer("print(a)");
  desk.offers.dismissed();
  desk.offers.dismissed();
  assert.deepEqual(desk.leave(), ["rejected print(a)"]);
});

test("one of several alternatives agrees", () => {
  const desk = new Desk().offer("print(a)", "private").type("v");
  desk.offers.dismissed();
  assert.deepEqual(desk.told, ["rejected private"]);
});

test("edits elsewhere and moving on are silent", () => {
  assert.deepEqual(new Desk().offer("print(a)").edit(0, 1, "yy").type("x").leave(), []);
  assert.deepEqual(new Desk().offer("print(a)").leave(), []);
});
