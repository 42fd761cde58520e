// What a newcomer does in the first five minutes, in a real browser against the real platform.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { choose, expectAccessible, login, openTab, PASSWORD, picture, register, type Tab } from "./browser";

let tab: Tab;
let page: Page;
const email = `${crypto.randomUUID()}@example.com`;

beforeAll(async () => {
  tab = await openTab(inject("gateway"));
  page = tab.page;
});

afterAll(() => tab?.browser.close());

test("register, and take a template", async () => {
  await expectAccessible(page);
  await register(page, email);
  await page.getByRole("button", { name: "Use SMA cross" }).waitFor();
  await expectAccessible(page);
  await picture(page, "1-templates");
  await page.getByRole("button", { name: "Use SMA cross" }).click();
  await page.getByText("Compiles.").waitFor();
  await expectAccessible(page);
});

test("edit: a wrong value is told on its node and in the list, undone it compiles again", async () => {
  const findings = page.getByRole("region", { name: "Findings" });
  await page.keyboard.press("/");
  await page.keyboard.type("rsi");
  await page.keyboard.press("Enter");
  await findings.getByText("rsi", { exact: true }).first().waitFor();
  await page.getByRole("article", { name: "rsi node rsi" }).getByRole("note").first().waitFor();
  await page.getByText("unsaved").waitFor();
  await page.getByRole("button", { name: "Undo (Ctrl+Z)" }).click();
  await page.getByText("Compiles.").waitFor();
  await page.getByText("version 1").waitFor();

  const size = page.getByLabel("buy size", { exact: true });
  await size.fill("-1");
  await findings.getByRole("button", { name: /error buy/ }).waitFor();
  await picture(page, "2-editor");
  await size.fill("50");
  await page.getByText("Compiles.").waitFor();
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("version 2").waitFor();
});

test("nodes are grouped, and the group is saved with the drawing", async () => {
  const head = (name: string) => page.getByRole("article", { name }).locator("header");
  await head("sma node fast").click();
  await head("sma node slow").click({ modifiers: ["Shift"] });
  await page.keyboard.press("Control+g");
  await page.getByLabel("title of group").fill("Averages");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("version 3").waitFor();
  await page.reload();
  const frame = page.getByRole("region", { name: "group Averages" });
  await frame.waitFor();
  await page.getByText("Compiles.").waitFor();
  await expectAccessible(page);

  const node = page.getByRole("article", { name: "sma node fast" });
  const before = await node.boundingBox();
  const grip = await frame.getByTitle("Drag the group").boundingBox();
  if (!before || !grip) throw new Error("nothing to drag");
  await page.mouse.move(grip.x + grip.width / 2, grip.y + grip.height / 2);
  await page.mouse.down();
  await page.mouse.move(grip.x, grip.y - 60, { steps: 5 });
  await page.mouse.up();
  await expect.poll(async () => (await node.boundingBox())?.y).toBeLessThan(before.y - 30);
  await picture(page, "6-group");
  await page.getByRole("button", { name: "Ungroup" }).click();
  await frame.waitFor({ state: "detached" });
  await page.getByText("unsaved").waitFor();
  await page.getByRole("button", { name: "Undo (Ctrl+Z)" }).click();
  await frame.waitFor();
  await page.getByRole("button", { name: "Undo (Ctrl+Z)" }).click();
  await page.getByText("version 3").waitFor();
});

test("a connection that cannot be says why", async () => {
  const from = page.getByRole("article", { name: "price node close" }).getByLabel("output value");
  await from.dragTo(page.getByRole("article", { name: "buy node buy" }).getByLabel("input when"));
  await page.getByText(/buy.when takes true or false, and close.value gives a number/).waitFor();
});

test("backtest: the browser's own run has the server's hash", async () => {
  await page.getByRole("button", { name: "Backtest", exact: true }).click();
  await page.getByRole("button", { name: "Run the backtest" }).waitFor();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Run the backtest" }).click();
  await page.getByRole("tab", { name: "Trades (15)" }).waitFor();
  await page.getByLabel("Settings of the run").getByText("bars of the sample").waitFor();
  await page.getByRole("switch", { name: /Instant mode/ }).click();
  await page.getByText("equals the server's").waitFor();
  const hash = page.getByTestId("instant-hash");
  const first = await hash.getAttribute("data-hash");
  await page.getByRole("tab", { name: "Proof" }).click();
  await page.getByText(String(first)).waitFor();

  await page.getByRole("slider", { name: "fast" }).focus();
  for (let step = 0; step < 5; step++) await page.keyboard.press("ArrowLeft");
  await page.getByRole("button", { name: "Run it on the server" }).waitFor();
  await expect.poll(() => hash.getAttribute("data-hash")).not.toBe(first);
  await expectAccessible(page);
  await picture(page, "3-instant");
  await page.getByRole("button", { name: "Run it on the server" }).click();
  await page.getByLabel("Settings of the run").getByText("fast 15").waitFor();
  await page.getByRole("tab", { name: /^Trades \([1-9]/ }).waitFor();
  await page.getByRole("switch", { name: /Instant mode/ }).click();
  await page.getByText("equals the server's").waitFor();
  await page.getByRole("switch", { name: /Instant mode/ }).click();
});

test("indicators of the graph are lines of the chart, and the trades are exported with their rules", async () => {
  const indicators = page.getByRole("group", { name: "Indicators" });
  await expect.poll(() => indicators.getByRole("checkbox", { checked: true }).count()).toBe(2);
  await indicators.getByText("close", { exact: true }).click();
  await expect.poll(() => indicators.getByRole("checkbox", { checked: true }).count()).toBe(3);
  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: "Export CSV" }).click();
  const text = readFileSync(await (await saved).path(), "utf8");
  expect(text).toMatch(/^# fee_bps: 10$/m);
  expect(text).toMatch(/^# parameter fast: 15$/m);
  expect(text.split("\n").filter((line) => /^\d+,long,/.test(line)).length).toBeGreaterThan(5);
});

test("explain: a bar says what every port held", async () => {
  const chart = page.getByRole("figure", { name: /Candles/ });
  await chart.click({ position: { x: 600, y: 120 } });
  await page.getByText(/did not act: when is false, because crossover/).waitFor();
  await page
    .getByRole("region", { name: /values of the bar/ })
    .getByText("false")
    .first()
    .waitFor();
});

test("optimise: a heat map, and how much of the best may be luck", async () => {
  await page.getByRole("link", { name: "Optimise …" }).click();
  for (const [field, value] of [
    ["fast from", "5"],
    ["fast to", "25"],
    ["fast step", "5"],
    ["slow from", "30"],
    ["slow to", "90"],
    ["slow step", "15"],
  ] as const) {
    await page.getByLabel(field).fill(value);
  }
  await page.getByRole("button", { name: "Try 25 points" }).click();
  await page.getByText(/Of 25 trials/).waitFor();
  const cells = page.getByRole("table", { name: /sharpe by fast and slow/ }).locator("td");
  await expect.poll(async () => (await cells.allTextContents()).filter(Boolean).length).toBe(25);
  await expectAccessible(page);
  await picture(page, "5-optimise");
});

test("paper session: live fills, no network and no gateway without a hole, stop", async () => {
  await page.getByRole("link", { name: "Sessions" }).click();
  await page.getByRole("button", { name: "New session" }).click();
  await choose(page, "Strategy", "SMA cross (version 3)");
  await page.getByLabel("fast").fill("2");
  await page.getByLabel("slow").fill("3");
  await choose(page, "Symbol", "BTC-USD (synthetic)");
  await choose(page, "Bars of", "1s");
  await page.getByRole("button", { name: "Start the session" }).click();
  await page.locator("tr[data-kind=EXIT]").first().waitFor();
  await page.getByLabel("Settings of the run").getByText("ticks of synthetic").waitFor();
  await expectAccessible(page);

  await page.context().setOffline(true);
  await page.getByText(/No line to the platform/).waitFor();
  await page.context().setOffline(false);
  await expectNoHole();

  // Whoever kills the gateway ends this platform, which is then started again where it was.
  process.kill(Number(readFileSync(join(inject("folder"), "gateway", "envoy.pid"), "utf8")), "SIGKILL");
  await page.getByText(/No line to the platform/).waitFor();
  await expectNoHole();

  await picture(page, "4-session");
  await page.getByRole("button", { name: "Verify parity" }).click();
  await page.getByText("parity identical").waitFor();
  await page.getByRole("button", { name: "Stop …" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Stop", exact: true }).click();
  await page.getByText("stopped", { exact: true }).waitFor();
  await page.getByRole("link", { name: "Sessions" }).click();
  await page.getByRole("cell", { name: "stopped" }).waitFor();
  await expectAccessible(page);
});

/** The line comes back, events go on, and none is missing. */
async function expectNoHole(): Promise<void> {
  await page.getByText(/No line to the platform/).waitFor({ state: "hidden" });
  const events = page.getByRole("table", { name: "Events" }).locator("tbody tr");
  const before = await events.count();
  await expect.poll(() => events.count(), { timeout: 60_000 }).toBeGreaterThan(before);
  const numbers = (await events.locator("td:first-child").allTextContents()).map(Number);
  expect(numbers).toEqual(numbers.map((_, index) => numbers.length - index));
}

test("runs beside each other, figure by figure", async () => {
  const session = await page.getByRole("link", { name: /BTC-USD/ }).getAttribute("href");
  await page.goto(`${inject("gateway")}/#/sessions/compare/${session?.split("/").at(-1)}`);
  await page.getByRole("row", { name: /^state stopped/ }).waitFor();
  await page.getByRole("row", { name: /^sharpe/ }).waitFor();
  await page.getByRole("link", { name: "Backtests" }).click();
  const boxes = page.getByRole("checkbox", { name: /^Compare/ });
  await expect.poll(() => boxes.count()).toBe(2);
  for (const box of await boxes.all()) await box.check();
  await page.getByRole("button", { name: "Compare 2" }).click();
  await page.getByRole("row", { name: /^parameters .*fast 15.*fast 20/ }).waitFor();
  await page.getByRole("row", { name: /^sharpe/ }).waitFor();
  await expectAccessible(page);
});

test("what happened is in the inbox, and a key for a program is shown once", async () => {
  await page.getByRole("button", { name: /Notifications, [1-9]/ }).click();
  await page.getByRole("dialog").getByRole("link").first().waitFor();
  await page.getByRole("button", { name: "Mark all as read" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
  await page.getByRole("button", { name: "Notifications, 0 not read" }).waitFor();
  await page.getByRole("button", { name: /^Account/ }).click();
  await page.getByRole("menuitem", { name: "Account …" }).waitFor();
  await expectAccessible(page);
  await page.getByRole("menuitem", { name: "Account …" }).click();
  await page.getByRole("menu").waitFor({ state: "hidden" });
  await page.getByLabel("What the key is for").fill("a bot");
  await choose(page, "It may", "Look only");
  await choose(page, "Good for", "30 days");
  await page.getByRole("button", { name: "Make a key" }).click();
  await page.getByText("Copy the key now").waitFor();
  await page.getByRole("row", { name: /^a bot Look only until .* never used/ }).waitFor();
  await expectAccessible(page);
});

test("notifications are sent on: a channel and a rule", async () => {
  await page.getByRole("button", { name: /^Account/ }).click();
  await page.getByRole("menuitem", { name: "Forwarding …" }).click();
  await page.getByRole("menu").waitFor({ state: "hidden" });
  await page.getByLabel("Name").fill("my hook");
  await page.getByLabel("Address, as Apprise writes it").fill("jsons://user:hidden@example.com/hook");
  await page.getByRole("button", { name: "Add the channel" }).click();
  const channels = page.getByRole("region", { name: "Channels" });
  await channels.getByRole("cell", { name: "my hook" }).waitFor();
  expect(await channels.textContent()).not.toContain("hidden");
  await choose(page, "Send to", "my hook");
  await choose(page, "At least", "warning");
  await page.getByRole("button", { name: "Make the rule" }).click();
  await page.getByText("everything, from warning on → my hook").waitFor();
  await page.getByRole("switch", { name: "Send to my hook" }).press("Space");
  await expect.poll(() => page.getByRole("switch", { name: "Send to my hook" }).isChecked()).toBe(false);
  await expectAccessible(page);
  await page.getByRole("link", { name: "Sessions" }).click();
});

test("a duplicated tab and its original both stay logged in, and one login is ended from another", async () => {
  const opened = page.waitForEvent("popup");
  await page.evaluate(() => window.open(location.href)); // copies what the session keeps, as duplicating does
  const twin = await opened;
  for (const one of [twin, page, twin, page]) {
    await one.reload();
    await one.getByRole("cell", { name: "stopped" }).waitFor();
  }
  await twin.close();
  await page.reload();
  await page.getByRole("cell", { name: "stopped" }).waitFor();

  const other = await openTab(inject("gateway"));
  await login(other.page, email, PASSWORD);
  await page.getByRole("button", { name: /^Account/ }).click();
  await page.getByRole("menuitem", { name: "Account …" }).click();
  const logins = page.getByRole("region", { name: "Logins" });
  await logins.getByRole("button", { name: "End", exact: true }).click();
  await expect.poll(() => logins.getByRole("row").count()).toBe(1);
  await other.page.reload();
  await other.page.getByRole("button", { name: "Log in" }).waitFor();
  await other.browser.close();
  await page.getByRole("link", { name: "Sessions" }).click();
});

test("a reload keeps the login, logging out ends it, and nothing is left in local storage", async () => {
  await page.reload();
  await page.getByRole("cell", { name: "stopped" }).waitFor();
  const stored = await page.evaluate(() => JSON.stringify(localStorage));
  expect(stored).not.toMatch(/token|refresh|eyJ/i);
  await page.getByRole("button", { name: /^Account/ }).click();
  await page.getByRole("menuitem", { name: "Log out" }).click();
  await page.getByRole("button", { name: "Log in" }).waitFor();
  expect(tab.faults).toEqual([]);
});
