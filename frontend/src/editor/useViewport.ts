// Where the drawing is seen from. While a hand moves it only its layer is moved: React Flow, told at every move, wakes a
// listener for each port, node and edge, some thousands of them. It is told now and then, and when the hand rests.

import { useStoreApi, type Viewport } from "@xyflow/react";
import { useEffect, useRef, useState } from "react";
import { create } from "zustand";

const TOLD_MS = 200; // for the map in the corner
const FAR = 0.35; // of full size
const GAP = 24; // from dot to dot
const LEAST_GAP = 10; // closer together they are a grey haze

/** Whether the drawing is seen from so far that nobody can read it: nodes then show values without their inputs. */
export const useFar = create<{ far: boolean }>()(() => ({ far: false }));

function look({ zoom }: Viewport): void {
  const far = zoom < FAR;
  if (useFar.getState().far !== far) useFar.setState({ far });
}

/** What a canvas needs to be moved; `dots` is for its background. */
export function useViewport() {
  const store = useStoreApi();
  const [viewport, setViewport] = useState<Viewport>({ x: 0, y: 0, zoom: 1 });
  const canvas = useRef<HTMLDivElement>(null);
  const dots = useRef<HTMLDivElement>(null);
  const hand = useRef({ moves: false, toldMs: 0 });

  useEffect(() => look(viewport), [viewport]);

  function place({ x, y, zoom }: Viewport): void {
    look({ x, y, zoom });
    const layer = canvas.current?.querySelector<HTMLElement>(".react-flow__viewport");
    if (layer) layer.style.transform = `translate(${x}px,${y}px) scale(${zoom})`;
    if (dots.current) Object.assign(dots.current.style, dotted({ x, y, zoom }));
    const now = performance.now();
    if (now - hand.current.toldMs < TOLD_MS) return;
    hand.current.toldMs = now;
    store.setState({ transform: [x, y, zoom] });
  }

  const handlers = {
    viewport,
    onMoveStart: (event: MouseEvent | TouchEvent | null) => {
      hand.current = { moves: event !== null, toldMs: performance.now() };
    },
    onViewportChange: (next: Viewport) => (hand.current.moves ? place(next) : setViewport(next)),
    onMoveEnd: (_: unknown, next: Viewport) => {
      hand.current.moves = false;
      setViewport(next);
    },
  };
  return { canvas, dots, dotted: dotted(viewport), handlers };
}

function dotted({ x, y, zoom }: Viewport) {
  const gap = GAP * zoom * 2 ** Math.max(0, Math.ceil(Math.log2(LEAST_GAP / (GAP * zoom))));
  return { backgroundPosition: `${x}px ${y}px`, backgroundSize: `${gap}px ${gap}px` };
}
