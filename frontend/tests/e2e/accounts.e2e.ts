// Accounts from both sides: their owners', and an administrator's.

import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { expectAccessible, login, openTab, PASSWORD, picture, register, type Tab } from "./browser";
import { PROGRAM } from "./platform";

const address = () => `${crypto.randomUUID()}@example.com`;
const [owner, root] = [address(), address()];
let owners: Tab;
let roots: Tab;

beforeAll(async () => {
  owners = await openTab(inject("gateway"));
  roots = await openTab(inject("gateway"));
  await register(owners.page, owner);
  await register(roots.page, root);
  await owners.page.getByRole("navigation", { name: "Pages" }).waitFor();
  await roots.page.getByRole("navigation", { name: "Pages" }).waitFor();
});

afterAll(() => Promise.all([owners?.browser.close(), roots?.browser.close()]));

test("administration is for administrators", async () => {
  const { page } = roots;
  await page.goto(`${inject("gateway")}/#/admin`);
  await page.getByText("Only an administrator may look here.").waitFor();
  await page.getByRole("button", { name: /^Account/ }).click();
  await page.getByRole("menuitem", { name: "Log out" }).waitFor();
  expect(await page.getByRole("menuitem", { name: "Administration …" }).count()).toBe(0);
  await page.getByRole("menuitem", { name: "Log out" }).click();
  execFileSync(PROGRAM, ["admins", "add", root], { env: { ...process.env, ALGOTRADE_DATA_DIR: inject("folder") } });
  await login(page, root, PASSWORD);
  await page.getByRole("button", { name: /^Account/ }).click();
  await page.getByRole("menuitem", { name: "Administration …" }).click();
  await page.getByRole("row", { name: new RegExp(`${root} .* administrator`) }).waitFor();
  await expectAccessible(page);
});

test("a user is found, disabled and enabled again, and the audit log tells of it", async () => {
  const { page } = roots;
  await page.getByLabel("Addresses that begin with").fill(owner.slice(0, 12));
  const row = page.getByRole("row", { name: new RegExp(owner) });
  await expect.poll(() => page.getByRole("table", { name: "Users" }).getByRole("row").count()).toBe(2);
  await row.getByRole("button", { name: "Disable …" }).click();
  await page.getByLabel(/^Why/).fill("a key of theirs was found in public");
  await page.getByRole("dialog").getByRole("button", { name: "Disable" }).click();
  await row.getByText(/^disabled/).waitFor();
  await row.getByTitle("a key of theirs was found in public").waitFor();
  await picture(page, "7-users");
  await owners.page.reload();
  await owners.page.getByRole("button", { name: "Log in" }).waitFor();

  const actor = (await row.locator("code").textContent()) ?? "";
  await row.getByRole("button", { name: "Enable" }).click();
  await row.getByText("good").waitFor();
  await page.getByRole("tab", { name: "Audit log" }).click();
  const log = page.getByRole("table", { name: "Audit log" });
  await log.getByRole("cell", { name: "user enabled" }).first().waitFor();
  await expectAccessible(page);
  await page.getByLabel("Of one actor").fill("nobody");
  await page.getByText("That is no actor.").waitFor();
  await page.getByLabel("Of one actor").fill(actor);
  await expect.poll(() => log.getByRole("cell", { name: "user enabled" }).count()).toBe(0);
  await log.getByRole("cell", { name: actor }).first().waitFor();
  expect(roots.faults).toEqual([]);
});

test("an account is deleted by its password, and is gone", async () => {
  const { page } = owners;
  await login(page, owner, PASSWORD);
  await page.getByRole("button", { name: /^Account/ }).click();
  await page.getByRole("menuitem", { name: "Account …" }).click();
  const password = page.getByLabel("Password of the account to delete");
  const remove = async () => {
    await page.getByRole("button", { name: "Delete my account …" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete everything" }).click();
  };
  await password.fill("not the password");
  await remove();
  await page.getByText("is not the account's password").waitFor();
  await expectAccessible(page);
  await password.fill(PASSWORD);
  await remove();
  await page.getByRole("button", { name: "Log in" }).waitFor();
  await page.getByLabel("E-mail address").fill(owner);
  await page.getByRole("textbox", { name: "Password" }).fill(PASSWORD);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("alert").waitFor();
  expect(owners.faults).toEqual([]);
});
