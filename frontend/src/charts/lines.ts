// Lines of indicators: over the candles, or in panes of their own right below them.

import {
  type IChartApi,
  type IPaneApi,
  type ISeriesApi,
  LineSeries,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";

/** `values` are NaN where there is none. */
export interface Line {
  id: string;
  label: string;
  /** Lines of the same name share a pane; without one it is that of the candles. */
  pane?: string;
  ms: ArrayLike<number>;
  values: ArrayLike<number>;
}

const COLORS = ["#ffd43b", "#9775fa", "#66d9e8", "#ffa94d", "#f783ac", "#a9e34b"];
const STRETCH = 0.8;

export class Lines {
  private readonly shown = new Map<string, ISeriesApi<"Line">>();
  private readonly panes = new Map<string, IPaneApi<Time>>();

  constructor(private readonly chart: IChartApi) {}

  /** Makes these the lines that are shown; `time` turns milliseconds into the chart's times. */
  show(lines: readonly Line[], time: (ms: number) => UTCTimestamp): void {
    const wanted = new Set(lines.map(({ id }) => id));
    for (const [id, series] of this.shown) {
      if (wanted.has(id)) continue;
      this.chart.removeSeries(series); // and its pane with the last of them
      this.shown.delete(id);
    }
    const kept = new Set(lines.map(({ pane }) => pane));
    for (const name of this.panes.keys()) if (!kept.has(name)) this.panes.delete(name);
    for (const line of lines) this.drawn(line).setData(pointsOf(line, time));
  }

  private drawn({ id, label, pane }: Line): ISeriesApi<"Line"> {
    const known = this.shown.get(id);
    if (known) return known;
    const used = new Set([...this.shown.values()].map((series) => series.options().color));
    const color = COLORS.find((one) => !used.has(one)) ?? COLORS[this.shown.size % COLORS.length];
    const options = { color, lineWidth: 1, title: label, priceLineVisible: false, lastValueVisible: true } as const;
    const series = pane
      ? this.paneOf(pane).addSeries(LineSeries, options)
      : this.chart.addSeries(LineSeries, options, 0);
    this.shown.set(id, series);
    return series;
  }

  private paneOf(name: string): IPaneApi<Time> {
    const known = this.panes.get(name);
    if (known) return known;
    const pane = this.chart.addPane();
    pane.moveTo(1 + this.panes.size);
    pane.setStretchFactor(STRETCH);
    this.panes.set(name, pane);
    return pane;
  }
}

function pointsOf({ ms, values }: Line, time: (ms: number) => UTCTimestamp) {
  const points: ({ time: UTCTimestamp; value: number } | { time: UTCTimestamp })[] = [];
  for (let bar = 0; bar < values.length; bar++) {
    const at = time(ms[bar] ?? 0);
    const value = values[bar] ?? Number.NaN;
    if (Number.isFinite(value)) points.push({ time: at, value });
    else if (points.length > 0) points.push({ time: at }); // a gap; none before the first value
  }
  return points;
}
