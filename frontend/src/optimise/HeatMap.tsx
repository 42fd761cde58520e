// A cell a point: one parameter across, another down, the objective as colour. Where more than two vary, the best counts.

import { Text } from "@mantine/core";
import { useMemo } from "react";
import { words } from "../api/format";
import type { OptimizationTrial } from "../generated/algotrade/v1/backtest_service_pb";
import { score } from "./score";

interface Props {
  trials: readonly OptimizationTrial[];
  axes: readonly string[];
  objective: string;
  out: boolean;
}

export function HeatMap({ trials, axes: [down = "", across = ""], objective, out }: Props) {
  const { cells, rows, columns, low, high } = useMemo(() => {
    const best = new Map<string, number>();
    for (const trial of trials) {
      const value = score(out ? trial.outOfSample : trial.inSample, objective);
      if (value === undefined) continue;
      const key = `${trial.point[down]} ${trial.point[across] ?? ""}`;
      best.set(key, Math.max(value, best.get(key) ?? Number.NEGATIVE_INFINITY));
    }
    const values = (name: string) =>
      [...new Set(trials.map(({ point }) => point[name] ?? ""))].sort((a, b) => Number(a) - Number(b));
    const found = [...best.values()];
    return {
      cells: best,
      rows: values(down),
      columns: values(across),
      low: Math.min(...found),
      high: Math.max(...found),
    };
  }, [trials, down, across, objective, out]);
  if (cells.size === 0) return <Text c="dimmed">No trial has a score here yet.</Text>;
  return (
    <table className="heat" aria-label={`${words(objective)} by ${down} and ${across}`}>
      <thead>
        <tr>
          <th scope="col">
            {down} \ {across}
          </th>
          {columns.map((column) => (
            <th key={column} scope="col">
              {column}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row}>
            <th scope="row">{row}</th>
            {columns.map((column) => {
              const value = cells.get(`${row} ${column}`);
              return (
                <td
                  key={column}
                  style={{ background: value === undefined ? undefined : heat((value - low) / (high - low || 1)) }}
                >
                  {value?.toFixed(2)}
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** From dark blue over teal to yellow, dark enough for white text. */
const heat = (share: number) => `hsl(${230 - 170 * share} 65% ${18 + 6 * share}%)`;
