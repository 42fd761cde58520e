// Candles with what was bought and sold, and below them the equity with its drawdown.

import {
  AreaSeries,
  CandlestickSeries,
  createChart,
  createSeriesMarkers,
  type IChartApi,
  type ISeriesApi,
  type ISeriesMarkersPluginApi,
  LineSeries,
  type SeriesMarker,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";
import { useEffect, useLayoutEffect, useRef } from "react";
import type { Zone } from "../api/format";
import type { Candle } from "../instant/bars";
import { type Line, Lines } from "./lines";
import { LiveCurve } from "./liveCurve";

export interface Point {
  ms: number;
  value: number;
}

export interface Mark {
  ms: number;
  side: "buy" | "sell";
  text: string;
  chosen?: boolean;
}

interface Props {
  candles: readonly Candle[];
  equity: readonly Point[];
  /** What the equity would be, a value a candle, in a colour of its own; may change at every frame. */
  live?: ArrayLike<number>;
  drawdown: readonly Point[];
  benchmark?: readonly Point[];
  /** Indicators: those with a pane of their own stand below the candles. */
  lines?: readonly Line[];
  marks: readonly Mark[];
  zone: Zone;
  label: string;
  height?: number;
  /** Where to look: a span of times. */
  focus?: { from: number; to: number };
  onClick?(ms: number): void;
}

interface Drawn {
  chart: IChartApi;
  candles: ISeriesApi<"Candlestick">;
  equity: ISeriesApi<"Line">;
  live: LiveCurve;
  benchmark: ISeriesApi<"Line">;
  drawdown: ISeriesApi<"Area">;
  lines: Lines;
  marks: ISeriesMarkersPluginApi<Time>;
}

const MINUTE_MS = 60_000;
const LIVE_COLOR = "#ffd43b";
const NOTHING: readonly number[] = [];
const PANE_HEIGHT = 110; // of an indicator's own

// Charts know UTC only: other zones are shown by moving the times.
const shifted = (ms: number, zone: Zone) => (zone === "UTC" ? ms : ms - new Date(ms).getTimezoneOffset() * MINUTE_MS);
const unshifted = (ms: number, zone: Zone) => (zone === "UTC" ? ms : ms + new Date(ms).getTimezoneOffset() * MINUTE_MS);

export function PriceChart({
  candles,
  equity,
  live,
  drawdown,
  benchmark,
  lines,
  marks,
  zone,
  label,
  height = 460,
  focus,
  onClick,
}: Props) {
  const box = useRef<HTMLDivElement>(null);
  const drawn = useRef<Drawn>(undefined);
  const fitted = useRef(false); // afterwards the user chooses what to look at
  const clicked = useRef(onClick);
  clicked.current = (ms) => onClick?.(unshifted(ms, zone));
  const time = (ms: number) => (shifted(ms, zone) / 1000) as UTCTimestamp;
  const line = (points: readonly Point[]) => points.map(({ ms, value }) => ({ time: time(ms), value }));

  useEffect(() => {
    if (!box.current) return;
    drawn.current = draw(box.current);
    drawn.current.chart.subscribeClick(({ time: at }) => {
      if (at !== undefined) clicked.current?.(Number(at) * 1000);
    });
    return () => drawn.current?.chart.remove();
  }, []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: a zone moves every time
  useEffect(() => {
    drawn.current?.candles.setData(candles.map(({ ms, ...prices }) => ({ time: time(ms), ...prices })));
    if (candles.length > 0 && !fitted.current) drawn.current?.chart.timeScale().fitContent();
    fitted.current = candles.length > 0;
  }, [candles, zone]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: as above
  useEffect(() => {
    drawn.current?.equity.setData(line(equity));
  }, [equity, zone]);
  // Before the page is painted: the curve is to be in that very frame.
  useLayoutEffect(() => drawn.current?.live.show(live ?? NOTHING), [live]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: as above
  useEffect(() => drawn.current?.drawdown.setData(line(drawdown)), [drawdown, zone]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: as above
  useEffect(() => drawn.current?.benchmark.setData(line(benchmark ?? [])), [benchmark, zone]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: as above
  useEffect(() => drawn.current?.lines.show(lines ?? [], time), [lines, zone]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: as above
  useEffect(() => {
    // A fill of the bar that is still being built has no candle to stand at.
    const [before, last] = candles.slice(-2).map(({ ms }) => ms);
    const end = (last ?? before ?? 0) + (last && before ? last - before : 0);
    const placed = marks.filter((mark) => mark.ms < end || mark.ms <= (last ?? before ?? 0));
    drawn.current?.marks.setMarkers(placed.map((mark) => marker(mark, time(mark.ms))));
  }, [marks, candles, zone]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: as above
  useEffect(() => {
    if (focus) drawn.current?.chart.timeScale().setVisibleRange({ from: time(focus.from), to: time(focus.to) });
  }, [focus]);

  const panes = new Set(lines?.flatMap(({ pane }) => pane ?? [])).size;
  return <figure ref={box} style={{ height: height + panes * PANE_HEIGHT, margin: 0 }} aria-label={label} />;
}

function draw(box: HTMLElement): Drawn {
  const chart = createChart(box, {
    autoSize: true,
    layout: { background: { color: "transparent" }, textColor: "#ced4da", panes: { separatorColor: "#373a40" } },
    grid: { vertLines: { color: "#2c2e33" }, horzLines: { color: "#2c2e33" } },
    timeScale: {
      timeVisible: true,
      secondsVisible: true,
      maxBarSpacing: 24,
      minBarSpacing: 0.001, // 100,000 bars fit into a page
      enableConflation: true, // bars that fall into one pixel are drawn as one
      borderColor: "#373a40",
    },
    rightPriceScale: { borderColor: "#373a40" },
  });
  const candles = chart.addSeries(CandlestickSeries, {
    upColor: "#20c997",
    downColor: "#fa5252",
    borderVisible: false,
  });
  const quiet = { priceLineVisible: false, lineWidth: 2 } as const;
  const equity = chart.addSeries(LineSeries, { ...quiet, color: "#4dabf7", title: "equity" }, 1);
  const live = new LiveCurve(LIVE_COLOR);
  equity.attachPrimitive(live);
  const benchmark = chart.addSeries(LineSeries, { ...quiet, lineWidth: 1, color: "#868e96", title: "held" }, 1);
  const drawdown = chart.addSeries(
    AreaSeries,
    {
      ...quiet,
      lineWidth: 1,
      lineColor: "#ff8787",
      topColor: "#fa525233",
      bottomColor: "#fa525266",
      title: "drawdown %",
    },
    2,
  );
  const [top, middle, bottom] = chart.panes();
  top?.setStretchFactor(3);
  middle?.setStretchFactor(1.4);
  bottom?.setStretchFactor(0.8);
  const marks = createSeriesMarkers(candles, []);
  return { chart, candles, equity, live, benchmark, drawdown, lines: new Lines(chart), marks };
}

function marker({ side, text, chosen }: Mark, time: UTCTimestamp): SeriesMarker<Time> {
  const buy = side === "buy";
  return {
    time,
    position: buy ? "belowBar" : "aboveBar",
    shape: buy ? "arrowUp" : "arrowDown",
    color: chosen ? "#ffd43b" : buy ? "#63e6be" : "#ffa8a8",
    size: chosen ? 2 : 1,
    text: chosen ? text : "",
  };
}
