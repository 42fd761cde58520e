// Times taken inside the page, by the page's own clock.

import type { Page } from "playwright-core";

declare global {
  interface Window {
    frameTimes?: number[];
    answerTimes?: number[];
  }
}

/** Milliseconds between the frames that the page could show while something was done. */
export async function framesDuring(page: Page, act: () => Promise<void>): Promise<number[]> {
  await page.evaluate(() => {
    const frames: number[] = [];
    window.frameTimes = frames;
    let last = performance.now();
    const tick = (now: number) => {
      if (window.frameTimes !== frames) return;
      frames.push(now - last);
      last = now;
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  });
  await act();
  return page.evaluate(() => {
    const frames = window.frameTimes ?? [];
    window.frameTimes = undefined;
    return frames.slice(1);
  });
}

/**
 * Milliseconds from a key to the third frame after `selector` has another `attribute`, by when what came of it is
 * drawn: the first commits the page, its effects run behind it, the chart draws in the frame after those.
 */
export async function answersTo(page: Page, keys: readonly string[], selector: string, attribute: string) {
  await page.evaluate(
    ([selector = "", attribute = ""]) => {
      const answers: number[] = [];
      window.answerTimes = answers;
      let pressed = 0;
      window.addEventListener("keydown", () => (pressed = performance.now()), true);
      const drawn = () => answers.push(performance.now() - pressed);
      const frame = (left: number) => requestAnimationFrame(() => (left > 1 ? frame(left - 1) : setTimeout(drawn)));
      const shown = document.querySelector(selector);
      if (!shown) throw new Error(`no ${selector}`);
      new MutationObserver(() => frame(3)).observe(shown, { attributeFilter: [attribute] });
    },
    [selector, attribute],
  );
  for (const [index, key] of keys.entries()) {
    await page.keyboard.press(key);
    await page.waitForFunction((count) => (window.answerTimes?.length ?? 0) >= count, index + 1);
  }
  return page.evaluate(() => window.answerTimes ?? []);
}

export const percentile = (values: readonly number[], share: number) => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
};

/** Prints a line of the table: median, 95th percentile, the longest. */
export function say(what: string, values: readonly number[], goal = ""): void {
  const [middle, high, most] = [0.5, 0.95, 1].map((share) => percentile(values, share).toFixed(0).padStart(6));
  process.stdout.write(`  ${what.padEnd(58)} ${middle} ${high} ${most}  ${goal}\n`);
}

export const HEAD = `\n  ${"milliseconds".padEnd(58)} ${["p50", "p95", "most"].map((name) => name.padStart(6)).join(" ")}\n`;
