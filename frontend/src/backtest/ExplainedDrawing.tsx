import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { strategies } from "../api/clients";
import { Canvas } from "../editor/Canvas";
import { CatalogueContext } from "../editor/catalogue";
import { useFindings } from "../editor/diagnostics";
import { readDrawing } from "../editor/document";
import { shownValues, usePortValues } from "../editor/portValues";
import { open } from "../editor/store";
import { useNodeTypes } from "../editor/useNodeTypes";
import type { PortValue } from "../generated/algotrade/v1/types_pb";

interface Props {
  strategyId: string;
  version: number;
  ports: readonly PortValue[];
}

/** The drawing as it was run, with what its ports held. */
export default function ExplainedDrawing({ strategyId, version, ports }: Props) {
  const types = useNodeTypes();
  const { data: drawing } = useQuery({
    queryKey: ["drawing", strategyId, version],
    queryFn: async () => readDrawing((await strategies.getStrategy({ strategyId, version })).strategy?.graph ?? ""),
    staleTime: Number.POSITIVE_INFINITY,
  });
  useEffect(() => {
    if (drawing) open(drawing);
    useFindings.setState({ all: [], byNode: new Map(), artefact: undefined, current: false });
  }, [drawing]);
  useEffect(() => {
    usePortValues.setState({ values: shownValues(ports) });
    return () => usePortValues.setState({ values: undefined });
  }, [ports]);
  if (!types.data || !drawing) return null;
  return (
    <CatalogueContext value={types.data}>
      <section className="explained" aria-label="The drawing with the values of the bar">
        <Canvas readOnly />
      </section>
    </CatalogueContext>
  );
}
