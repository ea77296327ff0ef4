"""Models from and to the Hugging Face hub. Needs the package huggingface_hub (pip install huggingface_hub), which reads its own
settings: HF_TOKEN, HF_HOME, HF_ENDPOINT.

    path = nibble.hub.pull("HuggingFaceTB/SmolLM2-135M")
    nibble.quantize(path, "smol-4bit", "gptq:bits=4,group=64", format="gptq")
    nibble.hub.push("smol-4bit", "me/SmolLM2-135M-gptq")
"""
import os
import pathlib

# What nibble reads of a repository: torch's own weight files and other frameworks' are left where they are.
PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.gguf", "*.bin.index.json", "*.json", "*.txt", "*.model",
            "*.jinja", "README.md", "LICENSE*", "NOTICE*"]


def _hub():
    try:
        import huggingface_hub
    except ImportError:
        raise ImportError("nibble.hub needs the package huggingface_hub: pip install huggingface_hub") from None
    return huggingface_hub


def pull(repository, file=None, revision=None, directory=None, token=None):
    """Downloads a model and returns its path, which nibble.Checkpoint and the others take.

    repository: "owner/name". file: one file of it (a .gguf, say); else everything that nibble reads. revision: branch, tag or commit.
    directory: where to put it; by default into huggingface_hub's cache, where a second call finds it again."""
    hub = _hub()
    if file is not None:
        return hub.hf_hub_download(repository, file, revision=revision, local_dir=directory, token=token)
    return hub.snapshot_download(repository, revision=revision, local_dir=directory, token=token, allow_patterns=PATTERNS)


def push(path, repository, private=False, message=None, token=None):
    """Uploads a model - an exported directory, or a native or GGUF file - and returns the address of the commit. The repository
    is made if it does not exist."""
    hub = _hub()
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or directory")
    api = hub.HfApi(token=token)
    api.create_repo(repository, private=private, exist_ok=True)
    message = message or f"Upload {path.name}"
    if path.is_dir():
        commit = api.upload_folder(repo_id=repository, folder_path=os.fspath(path), commit_message=message)
    else:
        commit = api.upload_file(path_or_fileobj=os.fspath(path), path_in_repo=path.name, repo_id=repository, commit_message=message)
    return getattr(commit, "commit_url", str(commit))
