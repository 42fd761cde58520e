import { Button, Checkbox } from "@mantine/core";
import { useState } from "react";
import { useLocation } from "wouter";

const MOST = 6; // beside each other on a screen

/** Which runs of a list are to be compared; the oldest choice gives way. */
export function useComparing(path: string) {
  const [chosen, setChosen] = useState<readonly string[]>([]);
  const [, go] = useLocation();
  const toggle = (id: string) =>
    setChosen(chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id].slice(-MOST));
  return {
    button: (
      <Button variant="default" disabled={chosen.length < 2} onClick={() => go(`${path}/compare/${chosen.join("+")}`)}>
        Compare {chosen.length > 1 ? chosen.length : ""}
      </Button>
    ),
    box: (id: string, name: string) => (
      <Checkbox aria-label={`Compare ${name}`} checked={chosen.includes(id)} onChange={() => toggle(id)} />
    ),
  };
}
