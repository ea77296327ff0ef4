"""`nibble doctor`: a healthy model, and models ill in one way each."""
import json
import struct
import unittest

from support import DATA, MODEL, Case

NAMES = ["architecture", "tokenizer", "bos", "eos", "template", "nan", "dead_channels", "calibration", "memory", "disk"]


class Doctor(Case):
    def checks(self, model, *options, status=0):
        result = self.result("doctor", model, *options, "--quiet", status=status)
        return {c["name"]: c for c in result["checks"]}

    def test_a_healthy_model(self):
        checks = self.checks(MODEL, "--calib", DATA / "calibration.txt")
        self.assertEqual(list(checks), NAMES)
        for name in ("architecture", "tokenizer", "nan", "dead_channels", "memory"):
            self.assertEqual(checks[name]["status"], "ok", checks[name])
        self.assertEqual(checks["template"]["status"], "skipped")
        self.assertIn("distinct ids", checks["calibration"]["detail"])

    def poke(self, name, change):
        def apply(header, data):
            begin, end = header[name]["data_offsets"]
            data[begin:end] = change(bytes(data[begin:end]), header[name])
        return self.change_tensors(apply)

    def matrix(self):
        header = json.loads((MODEL / "model.safetensors").read_bytes()[8:][:struct.unpack(
            "<Q", (MODEL / "model.safetensors").read_bytes()[:8])[0]])
        return next(n for n in sorted(header) if n.endswith("down_proj.weight"))

    def test_nan(self):
        name = self.matrix()
        # All bits set is a NaN in every floating-point type.
        model = self.poke(name, lambda b, _: b"\xff\xff\xff\xff" + b[4:])
        checks = self.checks(model, status=1)
        self.assertEqual(checks["nan"]["status"], "fail")
        self.assertIn(name, checks["nan"]["detail"])

    def test_dead_channels(self):
        name = self.matrix()

        def silence(data, info):
            row = len(data) // info["shape"][0]
            return bytes(row) + data[row:]
        checks = self.checks(self.poke(name, silence))
        self.assertEqual(checks["dead_channels"]["status"], "warning")
        self.assertIn("1 of", checks["dead_channels"]["detail"])
        self.assertIn(name, checks["dead_channels"]["detail"])

    def test_short_calibration(self):
        text = self.dir / "short.txt"
        text.write_text("It was a bright day. " * 40)
        self.assertEqual(self.checks(MODEL, "--calib", text)["calibration"]["status"], "warning")
        text.write_text("a")
        self.assertEqual(self.checks(MODEL, "--calib", text, status=1)["calibration"]["status"], "fail")

    def test_templates(self):
        model = self.copy_model()
        for template, status, words in (("{{ messages[0].content }}", "ok", "renders"), ("{{ x.y }}", "fail", "line 1"),
                                        ("{% for", "fail", "line 1"), ("fixed", "fail", "leaves"),
                                        ("<|nobody|>{{ messages[0].content }}", "warning", "<|nobody|>")):
            (model / "chat_template.jinja").write_text(template)
            check = self.checks(model, status=1 if status == "fail" else 0)["template"]
            self.assertEqual(check["status"], status, check)
            self.assertIn(words, check["detail"])

    def test_tokenizer(self):
        model = self.copy_model()
        (model / "tokenizer.json").unlink()
        checks = self.checks(model)
        self.assertEqual(checks["tokenizer"]["status"], "warning")
        self.assertEqual(checks["bos"]["status"], "skipped")
        (model / "tokenizer.json").write_text("{}")
        self.assertEqual(self.checks(model, status=1)["tokenizer"]["status"], "fail")

    def test_a_missing_model(self):
        self.refuse(3, ["doctor", self.dir / "none"], "none")


if __name__ == "__main__":
    unittest.main()
