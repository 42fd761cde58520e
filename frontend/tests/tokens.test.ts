import { expect, test } from "vitest";
import { isAdmins } from "../src/api/tokens";

const token = (claims: unknown) => `x.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.y`;

test.each([
  [token({ sub: "é", role: "admin" }), true],
  [token({ role: "user" }), false],
  [token({ role: ["admin"] }), false],
  [token({}), false],
  [token(null), false],
  ["", false],
  ["a.b.c", false],
])("whether %s is an administrator's", (text, expected) => {
  expect(isAdmins(text)).toBe(expected);
});
