"""`nibble chat` and `nibble run --chat`, driven through pipes and a terminal."""
import json
import os
import pty
import signal
import subprocess
import time
import unittest
import unittest.mock

from support import MODEL, NIBBLE, Case, nibble

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"


class Chat(Case):
    def setUp(self):
        super().setUp()
        self.template = self.dir / "template.jinja"
        self.template.write_text(TEMPLATE)

    def chat(self, lines, *options, status=0):
        found, out, err = nibble("chat", MODEL, "--template", self.template, "-n", 8, "--quiet", *options,
                                 input="".join(line + "\n" for line in lines).encode())
        self.assertEqual(found, status, out + err)
        return out, err

    def messages(self, lines, *options):
        out, _ = self.chat(lines, *options, "--json", self.dir / "out.json")
        return json.loads((self.dir / "out.json").read_text())["messages"], out

    def test_turns_are_kept(self):
        messages, out = self.messages(["It was", "The old man"], "--system", "Tell a story.")
        self.assertEqual([m["role"] for m in messages], ["system", "user", "assistant", "user", "assistant"])
        self.assertEqual(messages[3]["content"], "The old man")
        self.assertTrue(messages[2]["content"])
        self.assertIn(messages[2]["content"], out)

    def test_a_later_turn_equals_the_whole_conversation_at_once(self):
        messages, _ = self.messages(["It was", "The old man"], "--compute", "exact")
        text = "".join(f"{m['role']}: {m['content']}\n" for m in messages[:3]) + "assistant:"
        done = self.result("run", MODEL, "-p", text, "-n", 8, "--compute", "exact", "--quiet")
        self.assertEqual(done["text"], messages[3]["content"])

    def test_commands(self):
        saved = self.dir / "saved.json"
        messages, out = self.messages(["/help", "One", f"/save {saved}", "Two", "/undo", "/set temperature 0.5", "/set mood happy",
                                       "/set", "/system Be kind.", "/reset", f"/load {saved}", "//literal", "/quit", "never"])
        self.assertIn("/retry", out)
        self.assertIn("temperature 0.5", out)
        self.assertIn('mood "happy"', out)
        self.assertEqual([m["content"] for m in messages if m["role"] == "user"], ["One", "/literal"])
        self.assertEqual(json.loads(saved.read_text())["messages"], messages[:2])

    def test_every_generation_setting_can_be_set(self):
        plain, _ = self.messages(["It was"], "--compute", "exact")
        words = plain[1]["content"].split()
        stopped, out = self.messages(["/set stop " + words[1], "/set repetition_window 64", "/set mood happy", "/set", "It was"], "--compute", "exact")
        self.assertEqual(stopped[1]["content"].strip(), plain[1]["content"].split(words[1])[0].strip())
        self.assertIn("repetition_window 64", out)
        same, _ = self.messages(["It was"], "--compute", "exact", "--set", f"stop={words[1]}", "--set", "kv_type=f32")
        self.assertEqual(same, stopped)
        _, err = self.chat(["/set min_p 7"], status=3)
        self.assertIn("min_p", err)

    def test_retry_answers_again(self):
        messages, _ = self.messages(["One", "/retry"])
        self.assertEqual([m["role"] for m in messages], ["user", "assistant"])

    def test_lines_are_joined(self):
        messages, _ = self.messages(["one\\", "two"])
        self.assertEqual(messages[0]["content"], "one\ntwo")

    def test_errors_do_not_end_it(self):
        out, err = self.chat(["/nonsense", "/load /nowhere/x.json", "/set temperature hot", "It was", "/undo", "/undo"], status=2)
        for words in ("no command /nonsense", "/nowhere/x.json", "temperature is 'hot'", "nothing was said"):
            self.assertIn(words, err)
        self.assertTrue(out.strip())

    def test_a_failing_template_says_line_and_reason(self):
        self.template.write_text("line one\n{{ raise_exception('no such role') }}")
        _, err = self.chat(["hi"], status=3)
        self.assertIn("line 2: no such role", err)

    def test_without_a_template(self):
        self.refuse(3, ("chat", MODEL, "--quiet"), "chat template", "--template", input=b"")

    def test_a_full_context_is_a_clear_stop(self):
        _, err = self.chat(["word " * 200], "--context", 64, status=4)
        self.assertIn("/reset", err)

    def test_interruption_stops_the_answer_and_keeps_the_chat(self):
        with subprocess.Popen([NIBBLE, "chat", str(MODEL), "--template", str(self.template), "-n", "100000", "--context", "4096",
                               "--threads", "1", "--json", str(self.dir / "out.json")],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdin.write(b"It was\n")
            process.stdin.flush()
            process.stdout.read(20)  # the answer has begun
            process.send_signal(signal.SIGINT)
            process.stdin.write(b"/save " + str(self.dir / "saved.json").encode() + b"\n/quit\n")
            process.stdin.flush()
            _, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, err)
        saved = json.loads((self.dir / "saved.json").read_text())["messages"]
        self.assertEqual([m["role"] for m in saved], ["user", "assistant"])
        self.assertTrue(saved[1]["content"])

    def on_a_terminal(self, lines, *options, term="dumb"):
        """Types each of `lines` when the prompt appears; the messages at the end."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ["TERM"] = term
            os.execv(NIBBLE, [NIBBLE, "chat", str(MODEL), "--template", str(self.template), "-n", "4", "--json", str(self.dir / "out.json"), *options])
        seen, end = b"", time.monotonic() + 120
        sent = 0
        os.set_blocking(terminal, False)
        while time.monotonic() < end:
            try:
                chunk = os.read(terminal, 4096)
            except BlockingIOError:
                chunk = b""
            except OSError:
                break
            seen += chunk
            if sent < len(lines) and seen.count(b"> ") > sent:
                time.sleep(0.2)
                os.write(terminal, lines[sent])
                sent += 1
            time.sleep(0.05)
        _, status = os.waitpid(pid, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 0, seen)
        return json.loads((self.dir / "out.json").read_text())["messages"], seen

    def test_on_a_terminal(self):
        messages, seen = self.on_a_terminal([b"It was\n", b"\x03", b"/quit\n"])
        self.assertEqual(len(messages), 2, seen)

    def test_lines_are_edited_on_a_terminal(self):
        linked = subprocess.run(["ldd", NIBBLE], capture_output=True, text=True).stdout
        if "libedit" not in linked:
            self.skipTest("built without libedit")
        # Backspace; cursor left; the beginning of the line and its end; the line before, again; a line given up.
        messages, seen = self.on_a_terminal([b"It wax\x7fs\n", b"ac\x1b[Db\n", b"was\x01It \x05.\n", b"\x1b[A\n", b"given up\x03", b"/quit\n"], term="xterm")
        self.assertEqual([m["content"] for m in messages if m["role"] == "user"], ["It was", "abc", "It was.", "It was."], seen)
        # Whatever the locale: characters beyond ASCII, and edited as characters.
        for locale in ("C", "C.UTF-8"):
            with unittest.mock.patch.dict(os.environ, {"LC_ALL": locale}):
                messages, seen = self.on_a_terminal(["Straße 你好\n".encode(), "äx\x1b[Dö 你\x7f\n".encode(), b"/quit\n"], term="xterm")
            self.assertEqual([m["content"] for m in messages if m["role"] == "user"], ["Straße 你好", "äö x"], seen)

    def test_an_interruption_stops_within_one_token(self):
        # The answer is cut where the signal came: no more is written than the token that was being computed.
        with subprocess.Popen([NIBBLE, "chat", str(MODEL), "--template", str(self.template), "-n", "100000", "--context", "4096", "--threads", "1",
                               "--json", str(self.dir / "out.json")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdin.write(b"It was\n")
            process.stdin.flush()
            os.set_blocking(process.stdout.fileno(), False)
            text, end = b"", time.monotonic() + 60
            while len(text) < 40 and time.monotonic() < end:
                text += process.stdout.read() or b""
                time.sleep(0.002)
            process.send_signal(signal.SIGSTOP)  # while it stands still, everything written so far is read
            time.sleep(0.05)
            text += process.stdout.read() or b""
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGCONT)
            process.stdin.write(b"/quit\n")
            process.stdin.flush()
            os.set_blocking(process.stdout.fileno(), True)
            rest, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, err)
        answer = json.loads((self.dir / "out.json").read_text())["messages"][1]["content"]
        self.assertTrue(answer.strip().startswith(text.decode(errors="ignore").strip()), (answer, text))
        more = self.result("tokenize", MODEL, "-p", rest.decode(errors="ignore").split("\n")[0])
        self.assertLessEqual(len(more["ids"]), 2, rest)


class RunChat(Case):
    def model_with_template(self, template=TEMPLATE):
        model = self.copy_model()
        (model / "chat_template.jinja").write_text(template)
        return model

    def test_the_prompt_becomes_a_message(self):
        model = self.model_with_template()
        chat = self.result("run", model, "--chat", "--system", "S", "-p", "It was", "-n", 8, "--quiet")
        plain = self.result("run", model, "-p", "system: S\nuser: It was\nassistant:", "-n", 8, "--quiet")
        self.assertEqual(chat["token_ids"], plain["token_ids"])

    def test_variables_and_tools(self):
        model = self.model_with_template("{{ mood }}{{ tools|length }}{{ messages[0].content }}")
        tools = self.dir / "tools.json"
        tools.write_text('[{"type": "function"}, {"type": "function"}]')
        chat = self.result("run", model, "--chat", "--var", "mood=[1]", "--tools", tools, "-p", "x", "-n", 4, "--quiet")
        plain = self.result("run", model, "-p", "[1]2x", "-n", 4, "--quiet")
        self.assertEqual(chat["token_ids"], plain["token_ids"])

    def test_without_a_template(self):
        self.refuse(3, ("run", MODEL, "--chat", "-p", "x"), "chat template", "missing")

    def test_options_that_need_chat(self):
        self.refuse(2, ("run", MODEL, "--system", "x", "-p", "x"), "--chat")


class Vocabularies(Case):
    """A vocabulary alone can be tokenized with."""

    def test_a_directory_without_weights(self):
        wanted = self.result("tokenize", MODEL, "-p", "It was 1999.")["ids"]
        for name in ("model.safetensors", "config.json"):
            model = self.copy_model() if name == "model.safetensors" else model
            (model / name).unlink()
            self.assertEqual(self.result("tokenize", model, "-p", "It was 1999.")["ids"], wanted)
        self.assertEqual(self.result("tokenize", model / "tokenizer.json", "-p", "It was 1999.")["ids"], wanted)
        self.assertEqual(self.result("detokenize", model, "--ids", ",".join(map(str, wanted)))["text"], "It was 1999.")
        self.refuse(3, ("run", model, "-p", "x"), model)

    def test_nothing_there(self):
        self.refuse(3, ("tokenize", self.dir, "-p", "x"), self.dir)
        self.refuse(3, ("tokenize", self.dir / "none", "-p", "x"), "none")


if __name__ == "__main__":
    unittest.main()
