// How fast are the pages, with 500 nodes and with many bars? Frames while something moves, and from a key to the curve.

import { setTimeout as rest } from "node:timers/promises";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { login, openTab, PASSWORD, type Tab } from "../e2e/browser";
import { type Material, material } from "./material";
import { answersTo, framesDuring, HEAD, say } from "./measure";

const FRAME_MS = 16;
const STEPS = 120;
const LIVE_COLOR = "#ffd43b"; // of the curve as it is run in the browser
const INSTANT_BARS = 50_000;
const CHART_BARS = 100_000;
let tab: Tab;
let page: Page;
let made: Material;

beforeAll(async () => {
  const gateway = inject("gateway");
  made = await material(gateway, PASSWORD);
  tab = await openTab(gateway);
  page = tab.page;
  await login(page, made.email, PASSWORD);
  process.stdout.write(HEAD);
});

afterAll(() => tab?.browser.close());

test("a drawing of 500 nodes", async () => {
  await page.goto(`${inject("gateway")}/#/strategies/${made.drawing}`);
  await page.getByText("Compiles.").waitFor();
  await expect.poll(() => page.locator(".react-flow__node").count()).toBe(500);
  const pane = await middleOf(".react-flow__pane");
  const free = await freeNear(pane);
  say("panning over all 500 nodes", await framesDuring(page, () => drag(free, 3)), "goal: p95 under 33");
  await page.mouse.move(pane.x, pane.y);
  say("zooming in", await framesDuring(page, () => wheel(-60)));
  const between = await freeNear(pane);
  say("panning over those near", await framesDuring(page, () => drag(between, 3)), "goal: p95 under 33");
  say("dragging a node", await framesDuring(page, async () => drag(await headerNear(pane), 1)));
});

test(`instant mode over ${INSTANT_BARS} bars`, async () => {
  await page.goto(`${inject("gateway")}/#/backtests/${await made.backtest(INSTANT_BARS)}`);
  await page.getByRole("tab", { name: /^Trades \([1-9]/ }).waitFor();
  await page.getByRole("switch", { name: /Instant mode/ }).click();
  await page.getByText("equals the server's").waitFor();
  await page.getByRole("slider", { name: "fast" }).focus();
  const keys = Array.from({ length: 24 }, (_, index) => (index < 12 ? "ArrowLeft" : "ArrowRight"));
  const answers = await answersTo(page, keys, "[data-testid=instant-equity]", LIVE_COLOR);
  say(`from the key to the curve, ${INSTANT_BARS} bars`, answers, "goal: under 100");
});

test(`a chart of ${CHART_BARS} bars`, async () => {
  const backtest = await made.backtest(CHART_BARS);
  const begun = performance.now();
  await page.goto(`${inject("gateway")}/#/backtests/${backtest}`);
  await page.getByRole("tab", { name: /^Trades \([1-9]/ }).waitFor();
  say(`from the link to the chart, ${CHART_BARS} bars`, [performance.now() - begun]);
  const chart = await middleOf("figure");
  await page.mouse.move(chart.x, chart.y - 100);
  say("zooming into the chart", await framesDuring(page, () => wheel(-100)), "goal: p95 under 33");
  say(
    "panning the chart",
    await framesDuring(page, () => drag({ x: chart.x, y: chart.y - 100 }, 3)),
    "goal: p95 under 33",
  );
});

interface Place {
  x: number;
  y: number;
}

async function middleOf(selector: string): Promise<Place> {
  const box = await page.locator(selector).first().boundingBox();
  if (!box) throw new Error(`${selector} is not shown`);
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}

/** A place between nodes, where the drawing itself is held, the nearest to another. */
function freeNear(place: Place): Promise<Place> {
  return page.evaluate(({ x, y }) => {
    for (let far = 0; far < 400; far += 4) {
      for (let turn = 0; turn < 2 * Math.PI; turn += 0.3) {
        const spot = { x: x + far * Math.cos(turn), y: y + far * Math.sin(turn) };
        if (document.elementFromPoint(spot.x, spot.y)?.classList.contains("react-flow__pane")) return spot;
      }
    }
    throw new Error("nodes everywhere");
  }, place);
}

/** A node to hold, the nearest to a place. */
function headerNear(place: Place): Promise<Place> {
  return page.evaluate(({ x, y }) => {
    const middles = [...document.querySelectorAll(".node header")].map((header) => {
      const box = header.getBoundingClientRect();
      return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    });
    const far = (one: { x: number; y: number }) => Math.hypot(one.x - x, one.y - y);
    return middles.reduce((best, one) => (far(one) < far(best) ? one : best));
  }, place);
}

/** Drags there and back, `pixels` a frame. */
async function drag({ x, y }: Place, pixels: number): Promise<void> {
  await page.mouse.move(x, y);
  await page.mouse.down();
  for (let step = 0; step < STEPS; step++) {
    const far = pixels * Math.min(step, STEPS - step);
    await Promise.all([page.mouse.move(x + far, y + far / 2), rest(FRAME_MS)]);
  }
  await page.mouse.up();
}

async function wheel(pixels: number): Promise<void> {
  for (let step = 0; step < STEPS / 4; step++) await Promise.all([page.mouse.wheel(0, pixels), rest(FRAME_MS)]);
}
