// Where the cases type: lines of the project that repeat what stands near, so that a small model has something to say.
// What it says is not written down: the line is typed until it says something.
//
//   const place = prepare(folder, PLACES.tabs[0]);   // a copy of the project with an empty, indented line to type in
//   place.onDisk()                                   // the typed line as saved; throws when anything else changed
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

const PROJECT = path.join(import.meta.dirname, "../project");
const [READINGS, SENSOR, TABLE] = ["station/readings.py", "src/sensor.rs", "src/table.rs"];

export const WIND = { file: READINGS, below: "        self.wind_speed = 0.0", line: "        self.wind_direction = 0.0", from: 9 };
const MEAN = { file: READINGS, below: '        print("wind speed", self.mean_wind_speed())', line: '        print("rain", self.mean_pressure())', from: 7 };
const RAIN = { file: SENSOR, below: '            "rain" => Some(Sensor::Rain),', line: '            "snow" => Some(Sensor::Rain),', from: 8 };

/** What an engine that writes several lines says. */
export const BLOCK = "        if self.rain > 0.0:\n            self.wet = True\n            self.dry = False";

/** Per case: `line` is typed character by character, and from the `from`th on the model may speak. */
export const PLACES = {
  accept: WIND,
  type_through: WIND,
  undo: WIND,
  auto_closed: { ...MEAN, from: 15 },
  crlf: { ...WIND, eol: "\r\n" },
  emoji: { ...RAIN, line: '            "🌧🌂" => Some(Sensor::Rain),' },
  tabs: { file: TABLE, below: '\t\tRange::new("rain", 0.0, 200.0),', line: '\t\tRange::new("snow", 0.0, 200.0),', from: 3 },
  save: RAIN,
  accept_word: WIND,
  accept_line: WIND,
  several_lines: { ...WIND, line: BLOCK.split("\n")[0], from: 1 },
  cycling: WIND,
  cursor: WIND,
  list: WIND,
  dismiss: WIND,
  toggle: WIND,
  crash: WIND,
};

/** Copies the project and opens a line for typing in it. */
export function prepare(folder, { file, below, line, from, eol = "\n" }) {
  rmSync(folder, { recursive: true, force: true });
  cpSync(PROJECT, folder, { recursive: true });
  const text = readFileSync(path.join(PROJECT, file), "utf8");
  const at = text.indexOf(`${below}\n`) + below.length + 1;
  if (at <= below.length) throw new Error(`${file} has no line ${JSON.stringify(below)}`);
  const [before, after] = [text.slice(0, at), text.slice(at)].map((part) => part.replaceAll("\n", eol));
  const indent = /^\s*/.exec(line)[0];
  const place = new Place(path.join(folder, file), before, after, eol, indent, line.slice(indent.length), from);
  writeFileSync(place.path, place.whole(indent));
  return place;
}

class Place {
  constructor(file, before, after, eol, indent, keys, from) {
    Object.assign(this, { path: file, before, after, eol, indent, keys, from });
    this.line = before.split("\n").length;
  }

  whole(line) {
    return Buffer.from(this.before + line + this.eol + this.after);
  }

  /** The typed line as it is on disk. Throws unless all else is byte for byte what it was. */
  onDisk() {
    const found = readFileSync(this.path);
    const [head, tail] = [Buffer.from(this.before), Buffer.from(this.eol + this.after)];
    const same = found.length >= head.length + tail.length && found.indexOf(head) === 0 && found.subarray(found.length - tail.length).equals(tail);
    if (!same) throw new Error(`other lines changed on disk: ${JSON.stringify(found.toString())}`);
    return found.subarray(head.length, found.length - tail.length).toString();
  }

  /** Throws unless exactly this line is on disk. */
  check(line) {
    const found = this.onDisk();
    if (found !== line) throw new Error(`on disk: ${JSON.stringify(found)}, expected: ${JSON.stringify(line)}`);
  }
}

/** Whether each bracket outside of strings is closed once, in order. */
export function balanced(line) {
  const code = line.replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g, "");
  const open = [];
  for (const c of code) {
    if ("([{".includes(c)) open.push(")]}"["([{".indexOf(c)]);
    else if (")]}".includes(c) && open.pop() !== c) return false;
  }
  return open.length === 0 && !code.includes('"');
}
