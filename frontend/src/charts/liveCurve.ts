// A curve that changes with every move of a hand: drawn above a series, on the layer that has the crosshair, so that no
// series has to take in its points anew and nothing below is drawn again.

import type {
  AutoscaleInfo,
  IPrimitivePaneRenderer,
  IPrimitivePaneView,
  ISeriesPrimitive,
  Logical,
  SeriesAttachedParameter,
  Time,
} from "lightweight-charts";
import { outline } from "./curve";

type Target = Parameters<IPrimitivePaneRenderer["draw"]>[0];

/** Draws values that stand one at each bar of the chart, the first at its first. */
export class LiveCurve implements ISeriesPrimitive<Time>, IPrimitivePaneView, IPrimitivePaneRenderer {
  #values: ArrayLike<number> = [];
  #on?: SeriesAttachedParameter<Time>;
  readonly #views = [this];

  constructor(readonly color: string) {}

  show(values: ArrayLike<number>): void {
    if (values.length === 0 && this.#values.length === 0) return;
    this.#values = values;
    if (this.#on && this.#fits(this.#on))
      this.#on.chart.clearCrosshairPosition(); // draws that layer anew, no other
    else this.#on?.requestUpdate();
  }

  attached(on: SeriesAttachedParameter<Time>): void {
    this.#on = on;
  }

  detached(): void {
    this.#on = undefined;
  }

  paneViews(): readonly IPrimitivePaneView[] {
    return this.#views;
  }

  renderer(): IPrimitivePaneRenderer {
    return this;
  }

  zOrder(): "top" {
    return "top";
  }

  autoscaleInfo(start: number, end: number): AutoscaleInfo | null {
    const { from, to } = this.#within(start, end);
    let minValue = Number.POSITIVE_INFINITY;
    let maxValue = Number.NEGATIVE_INFINITY;
    for (let index = from; index < to; index++) {
      const value = this.#values[index] ?? 0;
      if (value < minValue) minValue = value;
      if (value > maxValue) maxValue = value;
    }
    return from < to ? { priceRange: { minValue, maxValue } } : null;
  }

  draw(target: Target): void {
    const scale = this.#on?.chart.timeScale();
    const range = scale?.getVisibleLogicalRange();
    if (!this.#on || !scale || !range) return;
    const { series } = this.#on;
    const { from, to } = this.#within(range.from, range.to);
    const left = scale.logicalToCoordinate(from as Logical) ?? 0;
    const step = (scale.logicalToCoordinate((from + 1) as Logical) ?? 0) - left;
    // biome-ignore lint/correctness/useHookAtTopLevel: the chart's, and no hook
    target.useMediaCoordinateSpace(({ context, mediaSize }) => {
      context.beginPath();
      for (const index of outline(this.#values, from, to, 4 * Math.ceil(mediaSize.width))) {
        const y = series.priceToCoordinate(this.#values[index] ?? 0);
        if (y !== null) context.lineTo(left + (index - from) * step, y);
      }
      context.strokeStyle = this.color;
      context.lineWidth = 2;
      context.lineJoin = "round";
      context.stroke();
    });
  }

  /** Whether what is seen of it lies within the prices that the scale shows. */
  #fits({ chart, series }: SeriesAttachedParameter<Time>): boolean {
    const seen = chart.timeScale().getVisibleLogicalRange();
    const shown = series.priceScale().getVisibleRange();
    const prices = seen && this.autoscaleInfo(seen.from, seen.to)?.priceRange;
    return !!prices && !!shown && shown.from <= prices.minValue && prices.maxValue <= shown.to;
  }

  /** Those of the values that are seen, and one more on either side, as far as there are any. */
  #within(start: number, end: number): { from: number; to: number } {
    const count = this.#values.length;
    return { from: Math.max(0, Math.floor(start)), to: Math.min(count, Math.ceil(end) + 1) };
  }
}
