import type { NodeProps } from "@xyflow/react";
import { memo } from "react";
import type { FrameNode } from "./groups";
import { useEditor } from "./store";

export const FrameView = memo(function FrameView({ id, data, selected }: NodeProps<FrameNode>) {
  const setTitle = useEditor((state) => state.setTitle);
  return (
    <section className={selected ? "frame selected" : "frame"} aria-label={`group ${data.title || id}`}>
      <header className="frame-head">
        <span className="frame-grip" title="Drag the group">
          ⠿
        </span>
        <input
          className="frame-title nodrag"
          aria-label={`title of ${id}`}
          placeholder="A group"
          value={data.title}
          onChange={(event) => setTitle(id, event.target.value)}
        />
      </header>
    </section>
  );
});
