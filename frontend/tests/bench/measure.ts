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
 * Milliseconds from a key to the end of the first frame in which a chart draws a line of a colour after the text of
 * `selector` has changed: the page says what came of it as it hands the chart its line.
 */
export async function answersTo(page: Page, keys: readonly string[], selector: string, color: string) {
  await page.evaluate(
    ([selector = "", color = ""]) => {
      const answers: number[] = [];
      window.answerTimes = answers;
      let pressed = 0;
      let told = false;
      const press = () => {
        pressed = performance.now();
        told = false;
      };
      window.addEventListener("keydown", press, true);
      const shown = document.querySelector(selector);
      if (!shown) throw new Error(`no ${selector}`);
      const changes = { characterData: true, childList: true, subtree: true };
      new MutationObserver(() => (told = true)).observe(shown, changes);
      const stroke = CanvasRenderingContext2D.prototype.stroke;
      const seen = () => answers.push(performance.now() - pressed);
      CanvasRenderingContext2D.prototype.stroke = function (this: CanvasRenderingContext2D, ...path: unknown[]) {
        stroke.apply(this, path as [Path2D]);
        if (!told || this.strokeStyle !== color) return;
        told = false;
        setTimeout(seen); // behind the frame that is being made
      };
    },
    [selector, color],
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
