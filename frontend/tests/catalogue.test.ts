import { expect, test } from "vitest";
import { search } from "../src/editor/catalogue";
import { catalogue } from "./drawings";

const names = (query: string) => search([...catalogue.values()], query).map((type) => type.name);

test("nothing asked finds all", () => {
  expect(names("  ")).toHaveLength(catalogue.size);
});

test("names come before words of the summary, and all words must be there", () => {
  expect(names("cross")).toEqual(["crossover"]);
  expect(names("logic true")).toEqual(["and"]);
  expect(names("buy mean")).toEqual([]);
});
