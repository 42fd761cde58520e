import { useEffect, useState } from "react";
import { textOf } from "./document";
import { useEditor } from "./store";

const RESTED_MS = 150;

/** The drawing's text, once it has rested: while something is dragged it is another one with every frame. */
export function useText(): string {
  const [text, setText] = useState(() => textOf(useEditor.getState()));
  useEffect(() => {
    const read = () => setText(textOf(useEditor.getState()));
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = useEditor.subscribe(() => {
      clearTimeout(timer);
      timer = setTimeout(read, RESTED_MS);
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, []);
  return text;
}
