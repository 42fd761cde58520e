// Amounts as the engine has them: whole numbers of 1e-8.

const DECIMALS = 8;
export const SCALE = 1e8;

/** Reads a plain decimal exactly. Raises RangeError for what is none, or has more than eight decimals. */
export function units(text: string): bigint {
  const found = /^([+-]?)(\d*)(?:\.(\d*))?$/.exec(text.trim());
  const [, sign, whole = "", fraction = ""] = found ?? [];
  const digits = fraction.replace(/0+$/, "");
  if (!found || (whole === "" && fraction === "") || digits.length > DECIMALS)
    throw new RangeError(`${text} is no amount`);
  const value = BigInt(whole + digits.padEnd(DECIMALS, "0"));
  return sign === "-" ? -value : value;
}

/** Writes an amount as a plain decimal, without zeros behind. */
export function decimal(value: bigint): string {
  const digits = String(value < 0n ? -value : value).padStart(DECIMALS + 1, "0");
  const fraction = digits.slice(-DECIMALS).replace(/0+$/, "");
  return `${value < 0n ? "-" : ""}${digits.slice(0, -DECIMALS)}${fraction && `.${fraction}`}`;
}

/** Writes a parameter as results have it: 20 of a whole one, 2.0 of another, never with an exponent. */
export function parameterText(value: number, type: "int" | "float"): string {
  if (type === "int") return String(value);
  const text = expanded(String(value));
  return text.includes(".") ? text : `${text}.0`;
}

function expanded(text: string): string {
  const [mantissa = "", exponent] = text.split("e");
  if (exponent === undefined) return text;
  const sign = mantissa.startsWith("-") ? "-" : "";
  const [whole = "", fraction = ""] = mantissa.replace("-", "").split(".");
  const digits = whole + fraction;
  const point = whole.length + Number(exponent);
  if (point <= 0) return `${sign}0.${"0".repeat(-point)}${digits}`;
  return `${sign}${digits.slice(0, point).padEnd(point, "0")}${digits.length > point ? `.${digits.slice(point)}` : ""}`;
}
