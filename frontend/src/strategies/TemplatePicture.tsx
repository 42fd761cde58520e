import { useMemo } from "react";
import { readDrawing } from "../editor/document";

const WIDTH = 200;
const HEIGHT = 60;

/** A drawing in small: a box a node, a line an edge. */
export function TemplatePicture({ graph }: { graph: string }) {
  const { nodes, edges } = useMemo(() => readDrawing(graph), [graph]);
  const places = new Map(nodes.map((node) => [node.id, node.position]));
  const xs = nodes.map((node) => node.position.x);
  const ys = nodes.map((node) => node.position.y);
  const left = Math.min(...xs) - 40;
  const top = Math.min(...ys) - 40;
  const size = `${left} ${top} ${Math.max(...xs) - left + WIDTH + 40} ${Math.max(...ys) - top + HEIGHT + 40}`;
  return (
    <svg viewBox={size} height={110} width="100%" className="picture" role="img" aria-label="The drawing in small">
      {edges.map((edge) => {
        const from = places.get(edge.source);
        const to = places.get(edge.target);
        if (!from || !to) return null;
        return <line key={edge.id} x1={from.x + WIDTH} y1={from.y + HEIGHT / 2} x2={to.x} y2={to.y + HEIGHT / 2} />;
      })}
      {nodes.map((node) => (
        <rect key={node.id} x={node.position.x} y={node.position.y} width={WIDTH} height={HEIGHT} rx={14} />
      ))}
    </svg>
  );
}
