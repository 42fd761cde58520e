// The editor around the canvas: palette, tools, findings, the chosen node.

import { useHotkeys } from "@mantine/hooks";
import { useReactFlow } from "@xyflow/react";
import { useEffect, useRef, useState } from "react";
import { Canvas } from "./Canvas";
import { copyChosen, pasteCopied } from "./clipboard";
import { useChecked } from "./diagnostics";
import { readDrawing, textOf } from "./document";
import { forgetDraft, keepDraft } from "./drafts";
import { FindingsPanel } from "./FindingsPanel";
import { HistoryDrawer } from "./HistoryDrawer";
import { Inspector } from "./Inspector";
import { Palette } from "./Palette";
import { redo, undo, useEditor } from "./store";
import { Tools } from "./Tools";
import { useSave } from "./useSave";
import { useText } from "./useText";

interface Props {
  strategyId: string;
  version: number;
  savedText: string;
}

export function Workplace({ strategyId, version: first, savedText }: Props) {
  const text = useText();
  const [history, setHistory] = useState(false);
  const search = useRef<HTMLInputElement>(null);
  const flow = useReactFlow();
  const { save, saving, version, kept } = useSave(strategyId, first, () => textOf(readDrawing(savedText)));
  const dirty = text !== kept;
  useChecked(text);

  useEffect(() => {
    if (dirty) keepDraft(strategyId, text);
    else forgetDraft(strategyId);
  }, [dirty, strategyId, text]);

  // What was drawn in the moment before the page is left.
  const known = useRef({ text, kept });
  known.current = { text, kept };
  useEffect(
    () => () => {
      const last = textOf(useEditor.getState());
      if (last !== known.current.text && last !== known.current.kept) keepDraft(strategyId, last);
    },
    [strategyId],
  );

  useEffect(() => {
    if (!dirty) return;
    const warn = (event: BeforeUnloadEvent) => event.preventDefault();
    window.addEventListener("beforeunload", warn);
    return () => window.removeEventListener("beforeunload", warn);
  }, [dirty]);

  function addInView(kind: string) {
    const pane = document.querySelector(".react-flow")?.getBoundingClientRect();
    if (!pane) return;
    const middle = flow.screenToFlowPosition({ x: pane.x + pane.width / 2, y: pane.y + pane.height / 2 });
    const { nodes, add } = useEditor.getState();
    const count = nodes.length;
    add(kind, { x: middle.x - 100 + (count % 5) * 24, y: middle.y - 60 + (count % 5) * 24 });
  }

  const saveNow = () => save(textOf(useEditor.getState()));

  useHotkeys([
    ["/", () => search.current?.focus()],
    ["mod+Z", undo],
    ["mod+shift+Z", redo],
    ["mod+Y", redo],
    ["mod+S", () => void saveNow()],
    ["mod+C", copyChosen],
    ["mod+V", pasteCopied],
    ["mod+D", () => copyChosen() && pasteCopied()],
    ["mod+A", chooseAll],
    ["mod+G", () => useEditor.getState().group()],
    ["mod+shift+G", () => useEditor.getState().ungroup()],
  ]);

  return (
    <div className="workplace">
      <Tools
        strategyId={strategyId}
        version={version}
        dirty={dirty}
        saving={saving}
        save={saveNow}
        showHistory={() => setHistory(true)}
        addNote={() => useEditor.getState().addNote(flow.screenToFlowPosition({ x: 500, y: 300 }))}
      />
      <Palette searchRef={search} add={addInView} />
      <main className="canvas" aria-label="Drawing">
        <Canvas />
      </main>
      <aside className="inspector" aria-label="Chosen node">
        <Inspector />
      </aside>
      <FindingsPanel />
      <HistoryDrawer strategyId={strategyId} version={version} opened={history} close={() => setHistory(false)} />
    </div>
  );
}

function chooseAll(): void {
  const { nodes, changeNodes } = useEditor.getState();
  changeNodes(nodes.map(({ id }) => ({ id, type: "select", selected: true })));
}
