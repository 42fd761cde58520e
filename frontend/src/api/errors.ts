// What a failed call says: a sentence, a reason for programs, and which field is to blame.

import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema } from "../generated/google/rpc/error_details_pb";

export interface Failure {
  sentence: string;
  reason: string;
  /** Sentences by the path of a field, such as `settings.fee_bps`. */
  fields: Readonly<Record<string, string>>;
}

export function failureOf(error: unknown): Failure {
  const failed = ConnectError.from(error);
  const reason = failed.findDetails(ErrorInfoSchema)[0]?.reason ?? "";
  const violations = failed.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations);
  const fields = Object.fromEntries(violations.map((violation) => [violation.field, violation.description]));
  return { sentence: sentenceOf(failed), reason, fields };
}

function sentenceOf(failed: ConnectError): string {
  if (failed.code === Code.Unavailable) return "The platform does not answer. It will be tried again.";
  if (failed.code === Code.DeadlineExceeded) return "The platform took too long to answer.";
  const said = failed.rawMessage || Code[failed.code];
  return `${said.charAt(0).toUpperCase()}${said.slice(1)}.`;
}
