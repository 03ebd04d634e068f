// package.json's settings are the server's: made from its schema, and equal to it still.
import assert from "node:assert/strict";
import test from "node:test";
import manifest from "../package.json";
import { configuration, readSchema } from "../scripts/schema.mjs";

test("a schema becomes flat settings", () => {
  const $defs = { Lines: { type: "string", enum: ["one"] }, Size: { anyOf: [{ type: "integer" }, { type: "string" }] }, Sub: { properties: { lines: { $ref: "#/$defs/Lines", default: "one", description: "d" } } } };
  const { properties } = configuration({ $defs, properties: { sub: { $ref: "#/$defs/Sub" }, size: { $ref: "#/$defs/Size", default: 1 } } });
  assert.deepEqual(properties["infill.sub.lines"], { type: "string", enum: ["one"], default: "one", scope: "window", description: "d" });
  assert.deepEqual(properties["infill.size"].type, ["integer", "string"]);
});

const binary = process.env["INFILL_BIN"];
const skip = binary ? false : "NOT RUN: set INFILL_BIN to the infill program to compare package.json with its schema";
test("package.json has the settings of the server's schema (else: npm run settings)", { skip }, () => {
  assert.deepEqual(manifest.contributes.configuration, configuration(readSchema(binary ?? "")));
});
