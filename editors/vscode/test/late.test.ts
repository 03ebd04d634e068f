// Questions that the editor withdraws, and when their answers are still wanted.
import assert from "node:assert/strict";
import test from "node:test";
import { Late, type Place } from "../src/late";

const U = "file:///a.py";
const HERE: Place = { uri: U, version: 2, line: 3, character: 9 };

class Source {
  private readonly heard = new Set<() => void>();
  readonly token = {
    isCancellationRequested: false,
    onCancellationRequested: (listener: () => void) => {
      this.heard.add(listener);
      return { dispose: () => this.heard.delete(listener) };
    },
  };
  cancel(): void {
    this.token.isCancellationRequested = true;
    this.heard.forEach((listener) => listener());
  }
  dispose(): void {}
}

/** An editor that asks, an engine that answers when told to, and how often the editor was told to ask again. */
class Desk {
  again = 0;
  clock = 0;
  timers: (() => void)[] = [];
  readonly asked: { token: Source["token"]; answer: (items: string[]) => void }[] = [];
  readonly late = new Late<Source["token"], string>(() => this.again++, () => new Source(), (what) => this.timers.push(what), () => this.clock);

  ask(place: Partial<Place> = {}) {
    const editor = new Source();
    const items = this.late.ask({ ...HERE, ...place }, editor.token, (token) => new Promise((answer) => this.asked.push({ token, answer })));
    return { editor, items };
  }

  /** One question, withdrawn after 750 ms, and what reached the engine. */
  withdrawn(after = 750) {
    const { editor, items } = this.ask();
    this.clock += after;
    editor.cancel();
    return { items, engine: this.asked[0]! };
  }

  settle(): void {
    this.timers.splice(0).forEach((what) => what());
  }
}

test("an answer in time is the answer, and nothing is offered later", async () => {
  const desk = new Desk();
  const { items } = desk.ask();
  desk.asked[0]!.answer(["x"]);
  assert.deepEqual(await items, ["x"]);
  desk.settle();
  assert.equal(desk.again, 0);
});

test("an answer after the withdrawal is given when the editor asks again", async () => {
  const desk = new Desk();
  const { items, engine } = desk.withdrawn();
  assert.equal(engine.token.isCancellationRequested, false);
  engine.answer(["x"]);
  await items;
  assert.equal(desk.again, 0, "not before it is sure that no key was the reason");
  desk.settle();
  assert.equal(desk.again, 1);
  assert.deepEqual(await desk.ask().items, ["x"]);
  assert.equal(desk.asked.length, 1, "the engine was asked once");
});

test("a question withdrawn at once is withdrawn for good", async () => {
  const desk = new Desk();
  const { items, engine } = desk.withdrawn(100);
  assert.equal(engine.token.isCancellationRequested, true);
  engine.answer(["it was about to come"]);
  await items;
  desk.settle();
  assert.equal(desk.again, 0);
});

test("it is given once", async () => {
  const desk = new Desk();
  const { items, engine } = desk.withdrawn();
  engine.answer(["x"]);
  await items;
  await desk.ask().items;
  void desk.ask();
  assert.equal(desk.asked.length, 2);
});

test("an empty answer is no news", async () => {
  const desk = new Desk();
  const { items, engine } = desk.withdrawn();
  engine.answer([]);
  await items;
  desk.settle();
  assert.equal(desk.again, 0);
});

const MOVES: Record<string, (late: Desk["late"]) => void> = {
  "an edit": (late) => late.moved(U, { version: 3 }),
  "a move of the cursor": (late) => late.moved(U, { line: 3, character: 8 }),
  "another text in view": (late) => late.looking("file:///b.py"),
  "no text in view": (late) => late.looking(undefined),
};

for (const [what, move] of Object.entries(MOVES)) {
  test(`${what} withdraws for good, before the answer and after it`, async () => {
    const desk = new Desk();
    const { items: ended, engine } = desk.withdrawn();
    move(desk.late);
    assert.equal(engine.token.isCancellationRequested, true);
    engine.answer(["it was about to come"]);
    await ended;
    desk.settle();
    assert.equal(desk.again, 0);

    const other = new Desk();
    const { items, engine: quick } = other.withdrawn();
    quick.answer(["x"]);
    await items;
    move(other.late);
    other.settle();
    assert.equal(other.again, 0);
  });
}

test("what stays as it is withdraws nothing", () => {
  const desk = new Desk();
  const { engine } = desk.withdrawn();
  desk.late.moved(U, { version: 2 });
  desk.late.moved(U, { line: 3, character: 9 });
  desk.late.moved("file:///output.log", { version: 7 });
  desk.late.looking(U);
  assert.equal(engine.token.isCancellationRequested, false);
});

test("a new question ends the one before, also at the same place with an entry of the menu selected", async () => {
  const desk = new Desk();
  const { engine } = desk.withdrawn();
  void desk.ask({ selected: "item" });
  assert.equal(engine.token.isCancellationRequested, true);
  assert.equal(desk.asked.length, 2);
});

test("what was kept for a place is not given with an entry of the menu selected", async () => {
  const desk = new Desk();
  const { items, engine } = desk.withdrawn();
  engine.answer(["x"]);
  await items;
  void desk.ask({ selected: "item" });
  assert.equal(desk.asked.length, 2);
});
