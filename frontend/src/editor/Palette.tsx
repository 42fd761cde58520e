import { Kbd, ScrollArea, TextInput } from "@mantine/core";
import { type Ref, useMemo, useState } from "react";
import type { NodeType } from "../generated/algotrade/v1/strategy_service_pb";
import { colorOf, search, useCatalogue } from "./catalogue";

export const DRAGGED = "application/x-algotrade-node";

interface Props {
  searchRef: Ref<HTMLInputElement>;
  add(kind: string): void;
}

export function Palette({ searchRef, add }: Props) {
  const [query, setQuery] = useState("");
  const catalogue = useCatalogue();
  const hits = useMemo(() => search([...catalogue.values()], query), [catalogue, query]);
  const groups = useMemo(() => [...Map.groupBy(hits, (type) => type.category)], [hits]);
  const best = hits[0];
  return (
    <nav className="palette" aria-label="Node types">
      <TextInput
        ref={searchRef}
        placeholder="Search nodes"
        aria-label="Search nodes"
        rightSection={<Kbd size="xs">/</Kbd>}
        value={query}
        onChange={(event) => setQuery(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && best) add(best.name);
          if (event.key === "Escape") event.currentTarget.blur();
        }}
      />
      <ScrollArea className="scroll" type="auto" viewportProps={{ tabIndex: 0, "aria-label": "Found node types" }}>
        {groups.map(([category, types]) => (
          <section key={category}>
            <h3 style={{ color: colorOf(category) }}>{category}</h3>
            {types.map((type) => (
              <Entry key={type.name} type={type} add={add} />
            ))}
          </section>
        ))}
        {hits.length === 0 && <p className="nothing">No node does that.</p>}
      </ScrollArea>
    </nav>
  );
}

function Entry({ type, add }: { type: NodeType; add(kind: string): void }) {
  return (
    <button
      type="button"
      draggable
      title={`${type.summary} Drag it, or double-click.`}
      onDragStart={(event) => event.dataTransfer.setData(DRAGGED, type.name)}
      onDoubleClick={() => add(type.name)}
      onKeyDown={(event) => event.key === "Enter" && add(type.name)}
    >
      {type.name}
    </button>
  );
}
