// Unsaved drawings, kept in the browser until they are saved.

import { type Drawing, readDrawing } from "./document";

const key = (strategyId: string) => `algotrade.draft.${strategyId}`;

export function keepDraft(strategyId: string, text: string): void {
  try {
    localStorage.setItem(key(strategyId), text);
  } catch {
    // The browser's store is full or closed: the draft lives as long as the page.
  }
}

export const forgetDraft = (strategyId: string) => localStorage.removeItem(key(strategyId));

export function readDraft(strategyId: string): Drawing | undefined {
  const text = localStorage.getItem(key(strategyId));
  return text ? readDrawing(text) : undefined;
}
