/** `godwit transfer`: money to another account. */
import { addressText, parseAddress } from "#chain/codec/address.ts";
import { type Command, OPTIONS_SIGN, OPTIONS_API, UsageError } from "../command.ts";
import { namedAccount } from "../keys.ts";
import { parseTokens, tokensText } from "../money.ts";
import { openSession, send } from "../session.ts";
import { print } from "../table.ts";

export const transfer: Command = {
  name: "transfer",
  summary: "Send tokens to another account",
  usage: ["ADDRESS|NAME TOKENS"],
  options: { ...OPTIONS_API, ...OPTIONS_SIGN },
  arguments: [2, 2],
  async run(input, shell) {
    const [receiver = "", written = ""] = input.positionals;
    const amount = parseTokens("TOKENS", written);
    if (amount === 0n) throw new UsageError("TOKENS must be more than 0");
    if (receiver.startsWith("gw1") && parseAddress(receiver) === null) throw new UsageError(`"${receiver}" is not an address: a character is wrong`);
    const to = parseAddress(receiver) ?? (await namedAccount(shell, receiver)).address;
    await using session = await openSession(input, shell);
    const done = await send(session, shell, [{ kind: "transfer", to, amount }], "transferring");
    const { balance } = await session.client.account(addressText(session.sender));
    print(shell, input.json, { to: receiver, amount, balance, txid: done.txid, height: done.height },
      () => `${tokensText(amount)} sent to ${receiver} in block ${done.height}; ${tokensText(balance)} left`);
  },
};
