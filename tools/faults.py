"""Plant one-line faults in a copy of the package and see that the tests catch every one.

A test that cannot fail proves nothing. Each fault below still imports and still samples finite images, so that only a
test of what the mathematics promises can tell. It counts as caught when an assertion in a test fails: an error inside
the package, or in collecting the tests, would be noticed by any run and does not count.

    python tools/faults.py [word]      only the faults whose place or file contains the word

Prints a table; the exit code is 1 when a fault survives, or when the untouched copy is not green.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Fault:
    """`old`, which stands once in src/noisette/`file`, becomes `new`; one of `tests` must see it."""

    place: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def planted_in(place: str, file: str, tests: str, changes: dict[str, str]) -> list[Fault]:
    """One fault for every change of old text into new; `tests` are set apart by blanks."""
    return [Fault(place, file, old, new, tuple(tests.split())) for old, new in changes.items()]


FAULTS = (
    *planted_in(
        "schedules",
        "diffusion/noise.py",
        "diffusion/test_noise.py",
        {
            "torch.cos((t + s) / (1 + s) *": "torch.cos(t *",
            "BETA_CAP = 0.999 ": "BETA_CAP = 0.99 ",
            "torch.linspace(within.beta_start, within.beta_end,": "torch.linspace(within.beta_end, within.beta_start,",
            "torch.expm1(-log_alpha_bar).sqrt()": "torch.expm1(-log_alpha_bar)",
            "torch.sigmoid(6 * t - 3)": "torch.sigmoid(5 * t - 2)",
            "(low - high), within.rho)": "(low - high), 7)",
            "return t / (1 - t)": "return t / (1 - t).sqrt()",
            "T / steps).round()": "T / steps).ceil()",
        },
    ),
    *planted_in(
        "forward process",
        "diffusion/noise.py",
        "diffusion/test_noise.py",
        {"math.sqrt(next_level**2 - noise_level**2)": "(next_level - noise_level)"},
    ),
    *planted_in(
        "forward process",
        "diffusion/noise.py",
        "diffusion/test_noise.py::test_each_image_gets_its_own_level_even_where_the_batch_is_as_large_as_the_width",
        {"levels.reshape(-1, *[1] * (like.ndim - 1))": "levels.reshape(*[1] * (like.ndim - 1), -1)"},
    ),
    *planted_in(
        "preconditioning",
        "diffusion/precondition.py",
        "diffusion/test_precondition.py",
        {
            "-sigma * _unit_in(sigma)": "sigma * _unit_in(sigma)",
            "ones_like(sigma), -sigma, _unit_in(sigma)": "ones_like(sigma), -sigma, torch.ones_like(sigma)",
            "1 / (1 + sigma), sigma / (1 + sigma)": "1 / (1 + sigma), _log_clock(sigma)",
            "Scalars(data_std**2 / total": "Scalars(data_std / total",
            "sigma.log() / 4": "sigma.log()",
            "network(c_in * noisy, clock, label)": "network(noisy, clock, label)",
        },
    ),
    *planted_in(
        "objective",
        "diffusion/objective.py",
        "diffusion/test_objective.py",
        {
            "/ (sigma * data_std) ** 2": "/ (sigma + data_std) ** 2",
            ".clamp(max=config.snr_gamma)": ".clamp(min=config.snr_gamma)",
            "c_out ** 2  # [B]": "c_out.abs()  # [B]",
            "* squares).flatten(1).mean(1)": "* squares).flatten(1).sum(1)",
            "u.double() * len(table)": "u.double() * (len(table) - 1)",
            "+ config.noise_log_std *": "+ config.noise_log_std**2 *",
        },
    ),
    *planted_in(
        "samplers",
        "diffusion/samplers.py",
        "diffusion/test_convergence.py",
        {
            "math.sqrt(sigma_next**2 - up**2)": "sigma_next",
            "up = eta * sigma_next": "up = eta**2 * sigma_next",
            "ratio = down / sigma": "ratio = sigma_next / sigma",
            "(slope + slope_next) / 2": "slope_next",
            "denoised_previous) / (2 * r)": "denoised_previous) / r",
            "(1 - half) * denoised": "(1 - half) * x",
        },
    ),
    *planted_in(
        "samplers",
        "diffusion/samplers.py",
        "diffusion/test_parity.py",
        {"(denoised - denoised_previous)": "(denoised_previous - denoised)"},
    ),
    *planted_in(
        "samplers",
        "diffusion/samplers.py",
        "diffusion/test_sample.py",
        {"make(eta or 0.0)": "make(eta or 1.0)"},
    ),
    *planted_in(
        "driver",
        "diffusion/sample.py",
        "diffusion/test_parity.py",
        {"x, denoised, memory, spent =": "x, denoised, _, spent ="},
    ),
    *planted_in(
        "driver",
        "diffusion/sample.py",
        "diffusion/test_sample.py",
        {
            "evaluations += spent": "evaluations += sampler.evaluations",
            "Snapshot(number, steps, sigma_next,": "Snapshot(number, steps, sigma,",
            "sampler.draws_noise and sigma_next > 0": "sampler.draws_noise",
            "math.sqrt(1 + noise_level**2) if": "noise_level if",
        },
    ),
    *planted_in(
        "guidance",
        "models/layers.py",
        "models/test_layers.py",
        {"torch.where(alone[:, None, None, None], v, weights @ v)": "weights @ v"},
    ),
    *planted_in(
        "guidance",
        "models/unet.py",
        "models/test_unet.py",
        {"alone = label == NO_CLASS_NO_ATTENTION": "alone = label < 0"},
    ),
    *planted_in(
        "guidance",
        "weights/model_file.py",
        "workflows/test_model.py",
        {"self.perturb_attention and self.guidance_scale > 1": "self.perturb_attention"},
    ),
    *planted_in(
        "guidance",
        "workflows/model.py",
        "workflows/test_model.py",
        {
            "NO_CLASS_NO_ATTENTION if sampling.perturbs() else NO_CLASS": "NO_CLASS",
            "if classes or sampling.perturbs() else 1.0": "if classes else 1.0",
        },
    ),
    *planted_in(
        "guidance",
        "guidance/free.py",
        "guidance/test_free.py",
        {
            "lerp(unconditional, conditional,": "lerp(conditional, unconditional,",
            "torch.cat([label, nothing])": "torch.cat([nothing, label])",
            "torch.full_like(label, away_from)": "torch.zeros_like(label)",
            "low <= noise_level <= high": "low < noise_level < high",
        },
    ),
    *planted_in(
        "guidance",
        "guidance/clamp.py",
        "guidance/test_clamp.py",
        {
            "* (limit / threshold)": "* limit",
            ".flatten(1).quantile(quantile, dim=1)": ".flatten().quantile(quantile).expand(len(denoised))",
        },
    ),
    *planted_in(
        "guidance",
        "guidance/steer.py",
        "guidance/test_steer.py",
        {
            "noise_level**2 * scale": "noise_level * scale",
            "log_probability(denoised, asked).sum(), x)": "log_probability(denoised, asked).sum(), denoised)",
            "not low <= noise_level <= high": "not low < noise_level < high",
            ".flatten(1).mean(1)": ".flatten(1).mean(1).mean().expand(len(noisy))",
            ".flatten(1).mean(1).sqrt()": ".flatten(1).sum(1).sqrt()",
            ".clamp(max=1)": ".clamp(max=2)",
            ".where(size.isfinite(), 0)": ".nan_to_num(1.0)",
            "denoised.detach() + kept": "noisy + kept",
        },
    ),
    *planted_in(
        "steering",
        "workflows/steering.py",
        "workflows/test_steering.py::test_each_image_is_led_to_its_own_class_and_one_of_no_class_is_left_alone "
        "workflows/test_steering.py::test_a_classifier_judges_by_its_classes",
        {
            "* (labels != NO_CLASS)": "",
            "return scores[:, self.asked]": "return scores[:, -1 - self.asked]",
        },
    ),
    *planted_in(
        "steering",
        "workflows/model.py",
        "workflows/test_steering.py::test_a_classifier_judges_by_its_classes",
        {"guided = self.guide(guided) if self.guide else guided": "pass"},
    ),
    *planted_in(
        "clip",
        "perception/clip_pixels.py",
        "perception/test_clip.py::test_pixels_are_those_of_the_librarys_own_way",
        {
            "x = (images + 1) / 2": "x = images",
            "mode=self.way": "mode='bilinear'",
            "x.expand(-1, self.channels, -1, -1) - mean": "x.expand(-1, self.channels, -1, -1)",
            "(self.size, longer) if height <= width": "(longer, self.size) if height <= width",
            "math.ceil(max(0, down) / 2)": "max(0, down)",
        },
    ),
    *planted_in(
        "clip",
        "perception/clip.py",
        "perception/test_clip.py::test_texts_of_one_prompt_are_averaged_and_a_text_is_the_same_in_any_company",
        {
            "of_texts(group).mean(0)": "of_texts(group)[0]",
            "/ (temperature or 1.0)": "* (temperature or 1.0)",
            'padding="max_length", max_length=longest': "padding=True",
        },
    ),
    *planted_in(
        "clip",
        "perception/prompts.py",
        "perception/test_prompts.py",
        {"name + prompt[end:]": "name"},
    ),
    *planted_in(
        "oracles",
        "diffusion/oracles.py",
        "diffusion/test_oracles.py",
        {
            "weights.log() - spread.log()": "weights.log()",
            "/ (2 * noise_level**2)": "/ noise_level**2",
        },
    ),
    *planted_in(
        "EMA",
        "training/ema.py",
        "training/test_ema.py",
        {
            "0.5 ** (batch_size / halflife)": "0.5 ** (1 / halflife)",
            "min(float(halflife_images)": "max(float(halflife_images)",
            "list(network.parameters()), 1 - decay)": "list(network.parameters()), decay)",
            "copy.deepcopy(network)": "network",
        },
    ),
    *planted_in(
        "batches",
        "data/batches.py",
        "data/test_batches.py",
        {
            '"order", epoch)': '"order", 0)',
            "[first : first +": "[:",
            "self.labels[index]": "self.labels[np.sort(index)]",
            "torch.randperm(len(self),": "torch.randint(len(self), (len(self),),",
            "return self.rows[np.concatenate(pieces)]": "return np.concatenate(pieces)",
        },
    ),
    *planted_in(
        "augmentation",
        "data/augment.py",
        "data/test_augment.py",
        {
            '"augmentation", position)': '"augmentation", 0)',
            "(mirror < 0.5) & augmentation.flip": "mirror < 0.5",
            "2 * augmentation.shift + 1, augmentation.shift": "2 * augmentation.shift, augmentation.shift",
            "* 2 / width, (": "* 2 / height, (",
            'padding_mode="border"': 'padding_mode="zeros"',
            "(2 * turn - 1)": "turn",
        },
    ),
    *planted_in(
        "pictures",
        "data/pictures.py",
        "data/test_pictures.py",
        {
            "+ 128) // 257)": ") // 256)",
            'above.size, "white")': 'above.size, "black")',
            "6: Image.Transpose.ROTATE_270": "6: Image.Transpose.ROTATE_90",
            "Image.Resampling.BICUBIC": "Image.Resampling.NEAREST",
            "(picture.width - across) / 2, (": "(picture.width - across) / 3, (",
            'mode="edge")': 'mode="constant")',
        },
    ),
    *planted_in(
        "what images become",
        "data/form.py",
        "data/test_form.py",
        {
            'max(factors) if fit == "crop"': 'min(factors) if fit == "crop"',
            "asked[0] / min(size) if": "asked[0] / max(size) if",
            "1 if all(header.grey": "1 if any(header.grey",
        },
    ),
    *planted_in(
        "sets of pictures",
        "data/picture_sets.py",
        "data/test_folders.py",
        {
            "{stamp(root / file)}": "",
            "(_Survey.kept(key) or surveyed).first": "surveyed.first",
        },
    ),
    *planted_in(
        "arrays of one's own",
        "data/arrays.py",
        "data/test_archives.py data/test_arrays.py",
        {
            "found.labels[done : done + len(chunk)]": "found.labels[: len(chunk)]",
            "channels < 3): count})\n    shape": "channels < 2): count})\n    shape",
        },
    ),
    *planted_in(
        "class names",
        "base/names.py",
        "base/test_names.py",
        {
            "int(part) if place % 2 else": "part if place % 2 else",
            'unicodedata.normalize("NFC", name)': "name",
        },
    ),
    *planted_in(
        "check",
        "data/checks.py",
        "data/test_checks.py",
        {
            "Image.fromarray(flat[trains[rows]])": "Image.fromarray(flat)",
            "len(np.unique(look.digests[index]))": "len(np.unique(look.lightest[index]))",
            "np.isin(look.digests[validation_index], look.digests[train_index])": "np.isin(look.digests[train_index], "
            "look.digests[validation_index])",
        },
    ),
    *planted_in(
        "relatives",
        "data/mnist.py",
        "data/test_mnist.py",
        {"(top / name, top) if data_dir": "(top, top / name) if data_dir"},
    ),
    *planted_in(
        "parquet",
        "data/parquet.py",
        "data/test_parquet.py",
        {
            "steps = reversed(file": "steps = iter(file",
            'TESTS = ("test", "validation")': 'TESTS = ("validation", "test")',
            "classes) for file in files]": "classes) for file in files[::-1]]",
            "update((place, place)": "update((place, len(classes) - 1 - place)",
        },
    ),
    *planted_in(
        "few images",
        "data/checks.py",
        "data/test_checks.py",
        {"if found.train.images < FEW_IMAGES:": "if found.train.images < 1:"},
    ),
    *planted_in(
        "few images",
        "training/loop.py",
        "training/test_loop.py::test_of_few_held_out_images_no_bucket_is_empty",
        {"if len(torch.unique((share * count).long())) == count)": "if count <= len(share))"},
    ),
    *planted_in(
        "few classes",
        "report/pictures.py",
        "workflows/test_any_classes.py::test_previews_are_about_as_wide_as_high",
        {"max(classes, side) + 1, classes)": "classes + 1, classes)"},
    ),
    *planted_in(
        "seeds",
        "base/seeds.py",
        "base/test_seeds.py",
        {
            "for part in key": "for part in sorted(key, key=str)",
            "purpose, int(index))": "purpose, len(self.shape))",
        },
    ),
    *planted_in(
        "distances",
        "evaluation/distances.py",
        "evaluation/test_distances.py",
        {
            "metric.update(other.double(), real=True)": "metric.update(2 * other.double(), real=True)",
            "frechet(fake[rows], reference)": "frechet(fake, reference[rows])",
            "/ (count * (count - 1))": "/ count**2",
            "- 2 * float(across": "- float(across",
        },
    ),
    *planted_in(
        "manifold",
        "evaluation/manifold.py",
        "evaluation/test_manifold.py",
        {
            "k: int = 5) -> Manifold": "k: int = 4) -> Manifold",
            "covered += (holds @ kept.T > 0)": "covered += (holds @ kept.T > 1)",
            "density = kept @ held_by / k": "density = kept @ held_by",
            "= math.inf  # no neighbour of itself": "= 0.0",
        },
    ),
    *planted_in(
        "labels",
        "evaluation/labels.py",
        "evaluation/test_labels.py",
        {
            "labels[asked] * classes + guesses[asked]": "guesses[asked] * classes + labels[asked]",
            "(len(own) * (len(own) - 1))": "len(own) ** 2",
            "(len(counts) - 1) / 2": "len(counts) / 2",
        },
    ),
    *planted_in(
        "memorisation",
        "evaluation/memorisation.py",
        "evaluation/test_memorisation.py",
        {
            "held_out.distances.double().quantile(CLOSEST)": "fake.distances.double().quantile(CLOSEST)",
            "fake.distances.argsort(stable=True)": "fake.distances.argsort(stable=True, descending=True)",
        },
    ),
    *planted_in(
        "ranking",
        "evaluation/ranking.py",
        "evaluation/test_ranking.py",
        {
            "if any(self._scores[place] >= score for place in near)": "if near",
            "near or self._order()[-1:] if full else near": "self._order()[-1:] if full else []",
            "(-self._scores[place], self._numbers[place])": "(-self._scores[place], -self._numbers[place])",
            "RESERVE = 2": "RESERVE = 1",
            "[: max(2, per_class)]]": "]",
            "features[own].double(), features[own].double(), compute_mode=EXACT": "features[own], features[own]",
        },
    ),
    *planted_in(
        "best of many",
        "workflows/rank.py",
        "workflows/test_rank.py::test_the_best_are_kept_and_another_classifier_sees_it "
        "workflows/test_rank.py::test_what_scores_too_little_is_never_kept "
        "workflows/test_rank.py::test_the_price_counts_the_evaluations_and_the_looks",
        {
            "self.best.offer(candidate.number, candidate.score, features)": (
                "self.best.offer(candidate.number, -candidate.score, features)"
            ),
            "candidate.score < self.request.reject_below": "candidate.score > self.request.reject_below + 9",
            '"looks": self.looks / images': '"looks": 1.0',
        },
    ),
    *planted_in(
        "reward",
        "training/rewarded.py",
        "training/test_rewarded.py",
        {
            "steps_left <= self.last_steps": "steps_left <= self.last_steps + 1",
            "return loss - self.weight *": "return loss + self.weight *",
            "self.config.is_chain())": "False)",
            "self.guide(denoiser(network, self.row, self.data_std))": "denoiser(network, self.row, self.data_std)",
            "self.log_probability(self.drawn(network, noise, label), label)": (
                "self.log_probability(self.drawn(network, noise, label), label).mean()"
            ),
        },
    ),
    *planted_in(
        "reward",
        "workflows/reward.py",
        "workflows/test_reward.py",
        {
            "lost > request.coverage_loss or": "lost > 9 or",
            "or grown > request.distance_growth": "or grown > 99",
            "default=0.0) - error": "default=0.0) - 9",
            "default=0.0) - error:": "default=0.0):",
            "if self.kept is None:": "if self.kept is not None or self.kept is None:",
            "self.best = _kept(self.state.average)": "self.best = self.state.average",
            'hash_seed(request.seed, "reward check")': "len(self.found)",
        },
    ),
    *planted_in(
        "reward",
        "workflows/choosing.py",
        "workflows/test_reward.py",
        {
            "return torch.cat(own, 1).min(1).values * (labels != NO_CLASS)": (
                "return -torch.cat(own, 1).min(1).values * (labels != NO_CLASS)"
            ),
        },
    ),
    *planted_in(
        "choosing",
        "workflows/choosing.py",
        "workflows/test_rank.py::test_of_several_scorers_the_lowest_score_counts "
        "workflows/test_rank.py::test_what_is_measured_is_the_best_of_each_class_as_often",
        {
            "for each in verdicts]).min(0).values": "for each in verdicts]).max(0).values",
            "[:each] for label in": "[-each:] for label in",
        },
    ),
    *planted_in(
        "refine",
        "workflows/refine.py",
        "workflows/test_refine.py::test_those_are_drawn_again_that_score_least_or_most "
        "workflows/test_refine.py::test_the_rejected_give_way_and_another_classifier_sees_it",
        {
            'take == "best" else': 'take != "best" else',
            'hash_seed(request.seed, "refine"),': "request.seed,",
            "labels.repeat_interleave(request.tries)": "labels.repeat(request.tries)",
            "// request.tries], chosen)": "% len(taken)], chosen)",
        },
    ),
    *planted_in(
        "refine",
        "workflows/model.py",
        "workflows/test_model.py::test_a_drawing_may_begin_in_the_middle_of_the_grid",
        {"levels = levels[first:]": "levels = levels[:1] + levels[first + 1 :]"},
    ),
    *planted_in(
        "calibration",
        "evaluation/calibration.py",
        "evaluation/test_calibration.py",
        {
            "(sure * bins).ceil().long().clamp(1, bins) - 1": "(sure * bins).floor().long().clamp(0, bins - 1)",
            "abs(sure - right) * count": "(sure - right) * count",
            "((logits / temperature).softmax(1) * logits)": "(logits.softmax(1) * logits)",
            "(log_probabilities / temperature).log_softmax(1)": "(log_probabilities * temperature).log_softmax(1)",
        },
    ),
    *planted_in(
        "scores",
        "workflows/calibrated.py",
        "workflows/test_score.py",
        {
            "fit_temperature(among_classes[:half], labels[:half])": "fit_temperature(among_classes, labels)",
            "scores[:, :classes].argmax(1)": "scores.argmax(1)",
            "- scores[:, :classes].logsumexp(1, keepdim=True)": "- scores.logsumexp(1, keepdim=True)",
            "torch.cat([own, bad], 1).logsumexp(": "bad.logsumexp(",
            "torch.where(labels == NO_CLASS, guesses, labels)": "labels.clamp(min=0)",
        },
    ),
    *planted_in(
        "intervals",
        "evaluation/intervals.py",
        "evaluation/test_intervals.py",
        {
            "freedom * left_out.double().var": "left_out.double().var",
            "order[labels[order].argsort(stable=True)]": "order.sort().values",
            "share * (1 - share) / count +": "share * (1 - share) +",
        },
    ),
    *planted_in(
        "yardsticks",
        "evaluation/yardstick.py",
        "evaluation/test_yardstick.py",
        {
            '"draw", label))[:per_class]': '"draw", label))[:1].repeat(per_class)',
            'torch.randperm(len(labels), generator=generator(seed, "draw"))[:count]': "torch.arange(count)",
        },
    ),
    *planted_in(
        "nothing lost",
        "training/manifest.py",
        "training/test_manifest.py",
        {
            "*self._good][:KEPT]": "*self._good][:1]",
            "return listed[place:]": "return listed[:1]",
            'if progress.validated_at == progress.images_seen else ""': 'if progress.validated_at < 0 else ""',
        },
    ),
    *planted_in(
        "nothing lost",
        "training/log.py",
        "training/test_log.py",
        {'"validation": progress.validated_at': '"validation": progress.images_seen'},
    ),
    *planted_in(
        "nothing lost",
        "training/checkpoint.py",
        "training/test_checkpoint.py",
        {"tensor.copy_(saved[name])": "tensor.add_(saved[name])"},
    ),
    *planted_in(
        "nothing lost",
        "workflows/train.py",
        "workflows/test_train_accidents.py::test_what_a_killed_process_left_is_dropped",
        {"> self.state.progress.validated_at:": "> 10**9:"},
    ),
    *planted_in(
        "many processes",
        "training/loop.py",
        "training/test_many_processes.py",
        {
            "(number * processes.count + processes.rank) * part": "number * part",
            "processes.add(losses)  #": "losses.add_(0)  #",
            "processes.total(mean / processes.count,": "processes.total(mean,",
        },
    ),
    *planted_in(
        "captions",
        "perception/captions.py",
        "perception/test_captions.py",
        {
            "(self.labels == NO_CLASS) | (self.labels == labels[:, None])": "self.labels == labels[:, None]",
            "(self.qualities & ~qualities[:, None]).any(2)": "(self.qualities ^ qualities[:, None]).any(2)",
            "claimed[row, chosen] = True": "claimed[row, chosen[:1]] = True",
        },
    ),
    *planted_in(
        "contrast",
        "perception/contrast.py",
        "perception/test_contrast.py",
        {
            "wanted / wanted.sum(0, keepdim=True) * logits.log_softmax(0)": "wanted * logits.log_softmax(0)",
            "if name != self.left_out)": ")",
            "for optimizer in optimizers:\n            optimizer.step()": "optimizers[0].step()",
            "((images + 1) / 2 - mean) / std": "(images - mean) / std",
            "lesson.strokes.words(images)": "lesson.strokes.words(degrade(images, kinds, config.trained_on, draw))",
        },
    ),
    *planted_in(
        "degradations",
        "perception/degrade.py",
        "perception/test_degrade.py",
        {
            "images, draw).flatten() * _unit(images)": "images, draw).flatten()",
            "ground + _between(0.15, 0.4, images, draw) * (images": "_between(0.15, 0.4, images, draw) * (images",
            "spoilt = images.clone()": "spoilt = images",
        },
    ),
    *planted_in(
        "strokes",
        "perception/strokes.py",
        "perception/test_degrade.py",
        {
            "middle_row[:, None, None] - rows,": "rows - middle_row[:, None, None],",
            "2 * area / outline": "area / outline",
        },
    ),
    *planted_in(
        "CLIP measures",
        "workflows/text_measures.py",
        "workflows/test_perceive_text.py",
        {
            "right=True)": "right=False)",
            "damaged[kinds == number] @": "damaged[kinds != number] @",
            "found[there], found[~there]": "found[~there], found[there]",
        },
    ),
    *planted_in(
        "hostile files",
        "base/text_file.py",
        "fuzz/test_hostile_texts.py",
        {"        if levels == 0:": "        if levels == -1000:", "file.read(largest + 1)": "file.read(largest)"},
    ),
    *planted_in(
        "hostile files",
        "base/names.py",
        "fuzz/test_hostile_pictures.py::test_a_class_name_never_leads_out_of_a_folder",
        {" and name.isprintable()": ""},
    ),
    *planted_in(
        "hostile files",
        "workflows/info.py",
        "fuzz/test_hostile_tensors.py::test_a_card_may_say_anything_but_steers_no_terminal",
        {"Text(printable(found))": "Text(found)"},
    ),
    *planted_in(
        "held against",
        "workflows/real_statistics.py",
        "workflows/test_evaluate.py::test_samples_of_no_class_are_held_against_what_is_read_of_the_real_images",
        {"draw.labels if labelled else draw.guesses": "draw.labels"},
    ),
    *planted_in(
        "held against",
        "workflows/evaluate.py",
        "workflows/test_evaluate.py::test_samples_of_no_class_are_held_against_what_is_read_of_the_real_images",
        {"histogram(known.train.guesses, len(classes))": "histogram(known.train.labels, len(classes))"},
    ),
    *planted_in(
        "held against",
        "workflows/choice_shown.py",
        "workflows/test_rank.py::test_each_distance_is_shown_in_floors_of_as_many_real_images",
        {'(1 if shares else own["real"])': '(1 if shares else found[next(iter(rows))]["real"])'},
    ),
    *planted_in(
        "dropout",
        "models/layers.py",
        "models/test_layers.py::test_where_guidance_runs_a_batch_twice_both_halves_drop_the_same",
        {"torch.stack(masks * times)": "torch.stack([mask for mask in masks for _ in range(times)])"},
    ),
)


def planted(fault: Fault, package: Path) -> str:
    """The file's text with the fault in it; raises ValueError when the old text does not stand there exactly once."""
    source = (package / fault.file).read_text(encoding="utf-8")
    if source.count(fault.old) != 1:
        raise ValueError(f"{fault.file} holds {fault.old!r} {source.count(fault.old)} times: expected once")
    return source.replace(fault.old, fault.new)


def judge(fault: Fault | None, tests: Sequence[str]) -> str:
    """Run `tests` on a fresh copy with the fault planted: what happened, in a line."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        copy = Path(folder)
        skip = shutil.ignore_patterns("__pycache__")
        for name in ("src", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=skip)
        shutil.copy(ROOT / "pyproject.toml", copy)
        if fault is not None:
            package = copy / "src" / "noisette"
            (package / fault.file).write_text(planted(fault, package), encoding="utf-8")
        inside = [sys.executable, __file__, "--inside", *(f"tests/{test}" for test in tests)]
        # No byte code: a stale one would hide a fault that is as long as what it replaces. One thread: two run at once.
        settings = {"PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        settings["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # none is needed; a fifth of the time
        done = subprocess.run(inside, cwd=copy, env=os.environ | settings, capture_output=True, text=True, check=False)
        verdict = copy / "verdict.json"
        if not verdict.exists():
            return f"broken: {(done.stdout + done.stderr).strip()[-300:]}"
        return json.loads(verdict.read_text())


def inside(tests: list[str]) -> None:
    """In the copy: sample, then run the tests; leave the verdict in verdict.json."""
    import pytest

    verdicts: list[str] = []

    class Witness:
        def pytest_sessionstart(self) -> None:
            check_that_it_samples()  # after tests/conftest.py, so that shapes are checked here too

        def pytest_exception_interact(self, node, call) -> None:
            last = Path(call.excinfo.traceback[-1].path)
            in_package = last.is_relative_to(Path.cwd() / "src")
            kind = "caught" if call.excinfo.type is AssertionError and not in_package else "no assertion"
            verdicts.append(f"{kind}: {node.nodeid.rpartition('/')[2]} ({call.excinfo.typename})")

    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests], plugins=[Witness()])
    if code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        Path("verdict.json").write_text(json.dumps(verdicts[0] if verdicts else "survived"))


def check_that_it_samples() -> None:
    """The copy is what is imported; guided and clamped samplers give finite images, every row a finite loss."""
    import torch

    import noisette
    from noisette.base.seeds import ImageNoise
    from noisette.data.batches import Batches
    from noisette.diffusion.noise import SCHEDULES, grid
    from noisette.diffusion.objective import LOSS_WEIGHTS, DiffusionConfig, Objective
    from noisette.diffusion.oracles import DatasetOracle, MixtureOracle
    from noisette.diffusion.precondition import PRECONDITIONS
    from noisette.diffusion.sample import sample, start_image
    from noisette.diffusion.samplers import SAMPLERS, make_sampler
    from noisette.guidance.clamp import clamp
    from noisette.guidance.free import free
    from noisette.training.ema import average_into, average_of, ema_decay

    assert Path(noisette.__file__).is_relative_to(Path.cwd()), f"not the copy: {noisette.__file__}"
    size = 28  # as many images as columns
    clean = ImageNoise(0, "faults", range(size), (1, 2, size)).draw()
    label = torch.arange(size) % 2
    oracles = (MixtureOracle([-0.5, 0.5], [0.3, 0.4], [0.4, 0.6]), DatasetOracle(clean, label))
    for name, schedule in zip([*SAMPLERS] * 2, [*SCHEDULES] * 2, strict=False):
        for oracle in oracles:
            config = DiffusionConfig(schedule=schedule, table_steps=10)
            noise, levels = ImageNoise(1, "faults", range(size), (1, 2, size)), grid(config.table())
            start = start_image(noise.draw(), levels[0], config.is_chain())
            denoise = clamp(free(oracle, 2.0, (0.1, 50.0)), 1.0, 0.99)
            *_, last = sample(denoise, make_sampler(name), levels, start, label, noise.draw)
            assert bool(last.noisy.isfinite().all()), f"{name} on {schedule} is not finite"
    for row in PRECONDITIONS:
        for weight in LOSS_WEIGHTS:
            objective = Objective(DiffusionConfig(parameterisation=row, loss_weight=weight, data_std=0.5))
            levels = objective.draw_levels((torch.arange(size) + 0.5) / size)
            loss = objective.per_image_loss(lambda x, *_: x.tanh(), clean, label, levels, clean.flip(0))
            assert bool(loss.isfinite().all()), f"the loss of {row} weighted by {weight} is not finite"
    network = torch.nn.Linear(2, 2)
    average = average_of(network)
    average_into(average, network, ema_decay(1000, 100, 500, 0.05))
    assert all(bool(each.isfinite().all()) for each in average.parameters())
    pixels = ((clean + 3) * 40).clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    assert bool(Batches(pixels, label.numpy(), label.numpy() * 0, seed=0).at(20, 40).images.isfinite().all())


def main(word: str) -> int:
    """Judge the untouched copy, then every fault, two at a time; print the table."""
    faults = [fault for fault in FAULTS if word in fault.place or word in fault.file]
    for fault in faults:
        planted(fault, ROOT / "src" / "noisette")  # a stale text is told at once, not after minutes
    untouched = judge(None, sorted({test for fault in faults for test in fault.tests}))
    print(f"the untouched copy: {'green' if untouched == 'survived' else untouched}\n")
    if untouched != "survived":
        return 1
    wide = max(len(f"{fault.old} -> {fault.new}") for fault in faults)
    with ThreadPoolExecutor(max_workers=2) as pool:
        survivors = 0
        for fault, verdict in zip(faults, pool.map(lambda fault: judge(fault, fault.tests), faults), strict=True):
            survivors += not verdict.startswith("caught")
            print(f"{fault.place:15}  {f'{fault.old} -> {fault.new}':{wide}}  {verdict}", flush=True)
    print(f"\n{len(faults) - survivors} of {len(faults)} faults caught")
    return int(survivors > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2:])
    else:
        sys.exit(main(*sys.argv[1:2] or [""]))
