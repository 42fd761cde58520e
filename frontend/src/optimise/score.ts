interface Figures {
  values: Readonly<Record<string, string>>;
}

/** The mean of a figure over folds; undefined where one of them has none. */
export function score(folds: readonly Figures[], objective: string): number | undefined {
  const texts = folds.map(({ values }) => values[objective] ?? "");
  if (texts.length === 0 || texts.includes("")) return undefined;
  return texts.reduce((sum, text) => sum + Number(text), 0) / texts.length;
}
