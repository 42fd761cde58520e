// What varies: the values of a named parameter, and how many there are.

import type { Parameter } from "../editor/document";

export interface Axis {
  name: string;
  from: number;
  to: number;
  step: number;
}

const VALUES = 10; // that an axis begins with

export function axisOf({ name, type, default: standard, min = 0, max, step }: Parameter): Axis {
  const to = Math.min(max ?? standard * 2, standard * 2);
  const from = Math.max(min, standard / 2);
  const rough = (to - from) / VALUES;
  const least = step ?? (type === "int" ? 1 : rough);
  const chosen = Math.max(least, Math.round(rough / least) * least);
  return type === "int"
    ? { name, from: Math.round(from), to: Math.round(to), step: Math.max(1, Math.round(chosen)) }
    : { name, from, to, step: chosen };
}

export const count = ({ from, to, step }: Axis) =>
  step > 0 && to >= from ? Math.floor((to - from) / step + 1e-9) + 1 : 0;

export const axisText = ({ from, to, step }: Axis) => `${from}:${to}:${step}`;
