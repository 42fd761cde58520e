import type { NodeProps } from "@xyflow/react";
import { memo } from "react";
import type { NoteNode } from "./document";
import { useEditor } from "./store";

export const NoteView = memo(function NoteView({ id, data, selected }: NodeProps<NoteNode>) {
  const setNote = useEditor((state) => state.setNote);
  return (
    <textarea
      className={selected ? "note selected" : "note"}
      aria-label={`note ${id}`}
      placeholder="A note"
      value={data.text}
      onChange={(event) => setNote(id, event.target.value)}
    />
  );
});
