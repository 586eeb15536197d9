"""The built-in plugin: one line a component."""

from omniflow.hooks import Register, hookimpl

OMNIFLOW_API_VERSION = 1

_COMPONENTS = (
    ("backbone", "tiny", "backbones.tiny:TinyBackbone", "Embedded backbone, trained on scenes"),
    (
        "backbone",
        "folder",
        "backbones.folder:FolderBackbone",
        "A model in the published layout: a folder or a Hub id",
    ),
    (
        "backbone",
        "omniflow-v0.5",
        "backbones.released:OmniFlowV05",
        "jacklishufan/OmniFlow-v0.5 from the Hub",
    ),
    (
        "backbone",
        "omniflow-v0.9",
        "backbones.released:OmniFlowV09",
        "jacklishufan/OmniFlow-v0.9 from the Hub",
    ),
    (
        "backbone",
        "published-sizes",
        "backbones.sizes:PublishedSizes",
        "Sizes of the published models without weights, for --dry-run --device meta",
    ),
    ("head", "linear", "heads.linear:LinearHead", "The backbone's own last text projection"),
    ("head", "mlp", "heads.mlp:MLPHead", "Two-layer perceptron"),
    ("head", "vq", "heads.vq:VQHead", "Perceptron with a vector-quantised output"),
    ("head", "norm-mlp", "heads.norm_mlp:NormMLPHead", "Perceptron with layer norms"),
    ("head", "norm-vq", "heads.norm_vq:NormVQHead", "The same with a vector-quantised output"),
    ("refiner", "none", "refiners.none:NoRefiner", "Leaves the latents as they are"),
    ("refiner", "mlp", "refiners.mlp:MLPRefiner", "Residual perceptron over each latent"),
    ("refiner", "norm-mlp", "refiners.norm_mlp:NormMLPRefiner", "The same with layer norms"),
    ("encoder", "clip", "encoders.clip:CLIPEncoder", "CLIP embedding of text or image"),
    (
        "encoder",
        "languagebind",
        "encoders.languagebind:LanguageBindEncoder",
        "LanguageBind embedding of sound",
    ),
    ("encoder", "t5", "encoders.t5:T5Encoder", "Mean T5 state of the text"),
    (
        "dataset",
        "scenes",
        "datasets.scenes:ScenesDataset",
        "Procedural pictures, captions and sounds",
    ),
    (
        "dataset",
        "text",
        "datasets.text:TextDataset",
        "Lines of a .txt, .jsonl, .csv or .parquet file",
    ),
    (
        "dataset",
        "csv",
        "datasets.csv_table:CsvDataset",
        "Captions, pictures and sounds that a .csv file names",
    ),
    (
        "dataset",
        "jsonl",
        "datasets.json_lines:JsonLinesDataset",
        "Captions, pictures and sounds that a .jsonl file names",
    ),
    (
        "dataset",
        "folder",
        "datasets.folder:FolderDataset",
        "Pictures, sounds and texts side by side",
    ),
    (
        "dataset",
        "huggingface",
        "datasets.huggingface:HuggingFaceDataset",
        "Any data set on the Hub, or a folder laid out like one",
    ),
    (
        "dataset",
        "wikitext",
        "datasets.wikitext:WikitextDataset",
        "Salesforce/wikitext: paragraphs of Wikipedia",
    ),
    (
        "dataset",
        "coco",
        "datasets.coco:CocoDataset",
        "lmms-lab/COCO-Caption: photographs with five captions",
    ),
    (
        "dataset",
        "audiocaps",
        "datasets.audiocaps:AudioCapsDataset",
        "OpenSound/AudioCaps: sounds with captions",
    ),
    (
        "dataset",
        "llava-cc3m",
        "datasets.llava_cc3m:LlavaCc3mDataset",
        "liuhaotian/LLaVA-CC3M-Pretrain-595K: pictures of the web with a caption",
    ),
    (
        "dataset",
        "webdataset",
        "datasets.webdataset:WebDataset",
        "Tar shards, the members of one stem being a sample",
    ),
    (
        "objective",
        "text-decoder",
        "objectives.text_decoder:TextDecoderObjective",
        "Head and refiner on a frozen backbone",
    ),
    (
        "objective",
        "flow",
        "objectives.flow:FlowObjective",
        "The transformer, on every task at once",
    ),
    ("metric", "bleu", "metrics.bleu:BLEU", "Corpus BLEU-4 (sacrebleu)"),
    ("metric", "rouge", "metrics.rouge_l:RougeL", "ROUGE-L F1 (rouge_score)"),
    ("metric", "rouge1", "metrics.rouge_1:Rouge1", "ROUGE-1 F1 (rouge_score)"),
    ("metric", "rouge2", "metrics.rouge_2:Rouge2", "ROUGE-2 F1 (rouge_score)"),
    ("metric", "meteor", "metrics.meteor:METEOR", "METEOR with WordNet where it is there (nltk)"),
    (
        "metric",
        "meteor-no-synonyms",
        "metrics.meteor:METEORNoSynonyms",
        "METEOR by letters and stems alone (nltk)",
    ),
    ("metric", "cider", "metrics.cider:CIDErD", "CIDEr-D, as the COCO caption tools compute it"),
    ("metric", "exact-match", "metrics.exact_match:ExactMatch", "Share equal to a reference"),
    ("metric", "distinct", "metrics.distinct:Distinct", "Distinct-2: different word pairs"),
    ("metric", "distinct-1", "metrics.distinct:Distinct1", "Distinct-1: different words"),
    (
        "metric",
        "length-ratio",
        "metrics.length_ratio:LengthRatio",
        "Words made to words wanted; 1 is best",
    ),
    ("metric", "accuracy", "metrics.token_accuracy:TokenAccuracy", "Teacher-forced token accuracy"),
    (
        "metric",
        "perplexity",
        "metrics.perplexity:Perplexity",
        "Teacher-forced perplexity over tokens",
    ),
    (
        "metric",
        "clip-score",
        "metrics.clip_score:CLIPScore",
        "How near pictures and texts are to a CLIP model",
    ),
    (
        "metric",
        "huggingface",
        "metrics.hugging_face:HuggingFaceMetric",
        "Any metric of Hugging Face evaluate; hf:NAME for short",
    ),
    ("metric", "scenes", "metrics.scenes:Scenes", "Share of a scene's attributes that are right"),
)


@hookimpl
def omniflow_register(register: Register) -> None:
    """Register everything that ships with the library."""
    for kind, name, target, summary in _COMPONENTS:
        register(kind=kind, name=name, target=f"omniflow.{target}", summary=summary)
