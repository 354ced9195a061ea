"""Show why meta-gradients fail on a problem, and what to use instead: one page, written from the numbers."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from hydra.utils import instantiate
from omegaconf import OmegaConf

import metalearn as ml
from metalearn.recording import (
    Section,
    application,
    draw_cut,
    draw_landscapes,
    draw_law,
    draw_layer,
    draw_signal,
    draw_trajectories,
    estimator_of,
    key_of,
    open_run,
    outer_of,
    output_folder,
    plane_of,
    show_progress,
    theta_of,
    write_report,
)

LAST = 0.1  # of a trajectory, whose mean is where it ends
STUCK = 0.05  # a start that moved less than this did not move


def main(config):
    jax.config.update("jax_enable_x64", bool(config.float64))
    study = Study(config)
    with (
        open_run(output_folder(), config, name=f"explain-{config.problem.name}", **config.tracker) as run,
        show_progress() as progress,
    ):
        began, sections = time.perf_counter(), []
        for part in (layers, law, cut, smoothing, trajectories, signal, zoom, cards):
            section, arrays, rows = part(study, progress)
            if section is None:
                continue
            number = len(sections) + 1
            run.arrays(part.__name__, arrays)
            run.table(part.__name__, rows)
            for name, figure in section.figures.items():
                run.figure(f"{number}-{part.__name__}-{name}", figure)
            sections.append(section)
            print(f"\n{number}. {section.heading}\n   {section.sentence}", flush=True)
        minutes = (time.perf_counter() - began) / 60
        title = f"Why meta-gradients fail: {config.problem.name}"
        foot = f"metalearn {ml.__version__}, jax {jax.__version__}, seed {config.seed}; {minutes:.1f} minutes."
        page = write_report(run.folder / "report.html", title, lead(study), sections, foot)
        run.file("report", page)
        print(f"\nreport: {page}    {minutes:.1f} minutes")


class Study:
    """What the parts of the report share: the problem on its plane, and what earlier parts measured."""

    def __init__(self, config):
        problem, theta = instantiate(config.problem.build, _convert_="all"), theta_of(config.problem.theta)
        self.config, self.horizon, self.key = config, config.problem.horizon, key_of(config.seed)
        plane = plane_of(config.problem, theta)
        if plane is None:
            raise ValueError(
                f"problem {config.problem.name} has no plane to draw; give problem.plane.x and problem.plane.y."
            )
        if not config.sigmas or config.cut.points < 4:
            raise ValueError(
                f"sigmas needs at least one entry and cut.points at least 4; {config.sigmas} and {config.cut.points} were given."
            )
        ml.check_problem(problem, theta)
        self.problem, self.plane = ml.on_plane(problem, plane)
        on_axes = plane.x.scale == plane.y.scale == "linear" and not config.problem.plane.get("directions")
        self.height = float(config.problem.theta[1]) if on_axes else (plane.y.low + plane.y.high) / 2
        self.episode = jax.random.fold_in(self.key, 2)
        self.anatomy = self.landscape = self.smooth = None

    def value(self, point):
        """The meta-loss of the one episode."""
        return ml.meta_loss(self.problem, point, self.episode, self.horizon)


def lead(study):
    config = study.config
    return (
        f"Training is an iterated map of {study.horizon} steps. This page shows where its meta-loss can be descended by gradients "
        f"through training, where it cannot, and why, on the plane of {study.plane.x.name} and {study.plane.y.name}. "
        f"Gradients are per unit of these axes; everything was computed in {'float64' if config.float64 else 'float32'}."
    )


def layers(study, progress):
    """Trainable, but not differentiable."""
    report = lambda done, total: progress("layers", done, total)
    found = ml.anatomy(
        study.problem, study.plane, tuple(study.config.layers), study.episode, num_steps=study.horizon, progress=report
    )
    study.anatomy = found
    numbers = share_of_large(found)
    growth = found.log_growth / np.log(10)
    figures = {
        "meta-loss": draw_layer(
            found.loss, study.plane, label="meta-loss", title="Trainable …", logarithmic=True, contours=None
        ),
        "growth": draw_layer(
            np.where(found.converged, np.clip(growth, 0, None), np.nan),
            study.plane,
            label="log₁₀ ‖ds_T/dθ‖",
            title="… but not differentiable (grey: diverges)",
            colours="magma",
            contours={38.5: "overflow of float32", 308.0: "overflow of float64"},
        ),
        "exponent": draw_layer(
            np.where(found.converged, found.exponent, np.nan),
            study.plane,
            label="exponent λ per step",
            title="Lyapunov exponent (grey: does not converge)",
            colours="RdBu_r",
            limits=symmetric(found.exponent[found.converged]),
        ),
    }
    sentence = (
        f"Training converges at {numbers['converged']:.0%} of the points, and at {numbers['length above 10']:.0%} of these the "
        f"gradient through it is longer than 10 a unit, at {numbers['growth beyond float32']:.0%} its tangents are beyond float32. "
        f"Of the best 2 % of all points {numbers['best 2 %: length above 10']:.0%} have a gradient longer than 10: the good "
        "hyperparameters lie where gradients fail."
        if numbers["best 2 %: length above 10"] > 0.3
        else f"Training converges at {numbers['converged']:.0%} of the points; at {numbers['length above 10']:.0%} of these the gradient "
        f"is longer than 10 a unit. Of the best 2 % of all points {numbers['best 2 %: length above 10']:.0%} have such a gradient: "
        "here gradients fail elsewhere than where the good hyperparameters are."
    )
    return (
        Section("Trainable, but not differentiable", sentence, figures, arrays="arrays/layers.npz"),
        {name: leaf for name, leaf in found._asdict().items() if isinstance(leaf, np.ndarray)}
        | axes_of(study.plane, found.loss.shape),
        [numbers],
    )


def share_of_large(found):
    """What the first figure shows, in numbers."""
    inside, large = found.converged, found.log_gradient > np.log(10)
    finite = found.loss[np.isfinite(found.loss)]
    best = found.loss <= (np.quantile(finite, 0.02) if finite.size else -np.inf)
    of = lambda mask, where: float(np.mean(mask[where])) if where.any() else float("nan")
    return {
        "converged": float(inside.mean()),
        "length above 10": of(large, inside),
        "growth beyond float32": of(found.log_growth > 38.5 * np.log(10), inside),
        "growth beyond float64": of(found.log_growth > 308 * np.log(10), inside),
        "best 2 %: length above 10": of(large, best),
        "exponent above 0.02": of(found.exponent > 0.02, inside),
    }


def symmetric(values):
    """Limits around zero that hold 98 % of the values."""
    largest = float(np.quantile(np.abs(values[np.isfinite(values)]), 0.98)) if np.isfinite(values).any() else 1.0
    return -largest, largest


def law(study, progress):
    """The Lyapunov law."""
    laws = ml.lyapunov_law(study.anatomy)
    rows = [{"size of": name, **one._asdict()} for name, one in laws.items()]
    if laws["gradient"].count < 3:
        sentence = (
            "Fewer than three points of the plane train with an exponent above 0.02: there is no chaos to see here."
        )
        return Section("The Lyapunov law", sentence), {"count": np.array(laws["gradient"].count)}, rows
    one = laws["gradient"]
    holds = one.correlation > 0.95 and 0.8 < one.slope < 1.2
    verdict = (
        "The gradient is about e^(λT) long: its size is set by the chaos of training and not by the meta-loss."
        if holds
        else "Its size does not follow e^(λT) here."
    )
    sentence = (
        f"Where training converges with λ > 0.02 ({one.count} points), the logarithm of the gradient's length against λT has the slope "
        f"{one.slope:.3f} and the correlation {one.correlation:.4f}. {verdict}"
    )
    figures = {"law": draw_law(study.anatomy, laws, title="λT against the size of derivatives")}
    arrays = {"exponent": study.anatomy.exponent, "log_gradient": study.anatomy.log_gradient}
    return Section("The Lyapunov law", sentence, figures, rows, arrays="arrays/layers.npz"), arrays, rows


def cut(study, progress):
    """One cut, on which everything trains and the gradient overflows."""
    settings, place = study.config.cut, study.height
    x = study.plane.x
    places = np.linspace(x.low, x.high, settings.points // 2 * 2)
    report = lambda done, total: progress("cut", done, total)
    size = (settings.points // 2, 2)
    found = ml.anatomy(
        study.problem, folded(x, places, place), size, study.episode, num_steps=study.horizon, progress=report
    )
    unfold = lambda layer: layer.T.ravel()
    line = {name: unfold(getattr(found, name)) for name in ("loss", "exponent", "exponent_error", "converged")}
    line["log_gradient"] = unfold(found.log_gradient + np.log(np.maximum(np.abs(found.direction[..., 0]), 1e-300)))
    smoothed = smoothed_along(study, np.linspace(x.low, x.high, settings.smoothed + 2)[1:-1], place, progress)
    length = smoothed["length"]
    seen = line["log_gradient"][np.isfinite(line["log_gradient"]) & line["converged"]]
    largest = np.max(seen, initial=-np.inf) / np.log(10)
    sentence = (
        f"Along {study.plane.y.name} = {place:g} training converges at {line['converged'].mean():.0%} of the places, while the raw "
        f"gradient there reaches 10^{largest:.0f}. The smoothed gradient (σ = {study.config.problem.sigma:g}, full ES) stays between "
        f"{length.min():.2g} and {length.max():.2g}."
    )
    figure = draw_cut(
        places, line, name=study.plane.x.name, smoothed=smoothed, title=f"{study.plane.y.name} = {place:g}"
    )
    arrays = line | {"places": places} | {f"smoothed_{name}": values for name, values in smoothed.items()}
    rows = [{"place": a, "length": b, "error": c} for a, b, c in zip(*smoothed.values())]
    return Section("One cut", sentence, {"cut": figure}, arrays="arrays/cut.npz"), arrays, rows


def folded(x, places, height):
    """A line of places as a plane of two rows: the odd ones lie above the even ones."""
    pitch = places[1] - places[0]
    first = ml.landscape.Axis(x.name, places[0], places[-2])
    return ml.landscape.Plane(
        first, ml.landscape.Axis("shift", 0, pitch), lambda a, b: jnp.stack([a + b, height + 0 * b])
    )


def smoothed_along(study, places, height, progress):
    """|∂L_σ/∂x| by full-horizon ES at some places of the cut, with standard errors."""
    pairs, sigma = study.config.cut.pairs, study.config.problem.sigma
    whole = ml.Truncation(study.horizon, study.horizon, key=study.episode)
    estimator = ml.evolution_strategies(study.problem, whole, sigma=sigma, num_pairs=max(2, pairs // 16))

    @jax.jit
    def episodes(theta, key):
        one = lambda key: estimator.estimate(theta, estimator.init(theta, key), key)[0]
        return jax.lax.map(one, jax.random.split(key, 16))

    lengths, errors = [], []
    for index, place in enumerate(places):
        found = np.asarray(episodes(jnp.array([place, height]), jax.random.fold_in(study.key, 100 + index)))[:, 0]
        lengths.append(abs(found.mean()))
        errors.append(found.std(ddof=1) / np.sqrt(len(found)))
        progress("smoothed gradients", index + 1, len(places))
    return {"places": places, "length": np.array(lengths), "error": np.array(errors)}


def smoothing(study, progress):
    """Smoothing turns hundreds of local minima into one."""
    report = lambda done, total: progress("landscape", done, total)
    values = ml.landscape.render(
        study.value, study.plane, tuple(study.config.smoothing), chunk_size=16, progress=report
    )
    cap = float(np.nanmax(values[np.isfinite(values)]))
    values = np.where(np.isfinite(values), values, cap)
    study.landscape = values
    pyramid = ml.landscape.smoothing_pyramid(values, study.plane, study.config.sigmas)
    x, y = study.plane.x.points(values.shape[1]), study.plane.y.points(values.shape[0])
    figures, rows = {}, []
    for sigma, layer in {0.0: values, **{sigma: one.value for sigma, one in pyramid.items()}}.items():
        minima = np.argwhere(ml.landscape.local_minima(layer))
        row, column = np.unravel_index(np.argmin(layer), layer.shape)
        best = (float(x[column]), float(y[row]))
        rows.append(
            {
                "sigma": sigma,
                "local minima": len(minima),
                "best x": best[0],
                "best y": best[1],
                "best value": layer[row, column],
            }
        )
        points = (
            {f"{len(minima)} local minima": np.stack([x[minima[:, 1]], y[minima[:, 0]]], axis=1)} if len(minima) else {}
        )
        figures[f"sigma {sigma:g}"] = draw_layer(
            layer,
            study.plane,
            label="meta-loss",
            title=f"σ = {sigma:g}" if sigma else "raw",
            logarithmic=True,
            limits=(float(values.min()), cap),
            points={"smallest": [best], **points},
        )
    study.smooth = pyramid
    last = rows[min(2, len(rows) - 1)]
    sentence = (
        f"The raw landscape has {rows[0]['local minima']} local minima on a grid of {values.shape[1]} × {values.shape[0]}; smoothed "
        + ", ".join(f"with σ = {row['sigma']:g} it has {row['local minima']}" for row in rows[1:])
        + f". The smallest value lies at ({rows[0]['best x']:.2f}, {rows[0]['best y']:.2f}), and after smoothing with σ = "
        f"{last['sigma']:g} at ({last['best x']:.2f}, {last['best y']:.2f})."
    )
    arrays = {"meta_loss": values} | {f"sigma_{sigma:g}": one.value for sigma, one in pyramid.items()}
    return (
        Section("Smoothing", sentence, figures, rows, arrays="arrays/smoothing.npz"),
        arrays | axes_of(study.plane, values.shape),
        rows,
    )


def trajectories(study, progress):
    """Where every estimator goes from the same starts."""
    config = study.config
    if not config.trajectories.length_factor or not config.problem.plane.get("starts"):
        return None, {}, []
    starts = theta_of(config.problem.plane.starts, "problem.plane.starts").astype(float)
    low, high = (jnp.array([getattr(axis, end) for axis in study.plane[:2]]) for end in ("low", "high"))
    values = jax.jit(jax.vmap(study.value))
    paths, rows, figures = {}, [], {}
    entries = OmegaConf.merge(config, {"pairs": config.trajectories.pairs}).estimators
    for index, (name, entry) in enumerate(entries.items()):
        outer = outer_of(config.problem, name, entry)
        num_steps = max(1, round(outer["num_steps"] * config.trajectories.length_factor))
        estimator = estimator_of(config.problem, study.problem, entry, study.episode)
        optimizer = optax.adam(outer["learning_rate"])
        key = jax.random.fold_in(study.key, 4)
        thetas, metrics = ml.outer_trajectories(estimator, optimizer, starts, key, num_steps, low=low, high=high)
        ends = thetas[:, -max(1, round(LAST * thetas.shape[1])) :].mean(axis=1)
        moved = np.linalg.norm(np.asarray(ends - starts), axis=1)
        losses = np.nan_to_num(np.asarray(values(ends)), nan=np.inf)
        rows.append(
            {
                "estimator": entry.label,
                "best end": losses.min(),
                "worst end": losses.max(),
                "starts that did not move": int(np.sum(moved < STUCK)),
            }
            | {f"start {i + 1}": float(loss) for i, loss in enumerate(losses)}
            | {"inner steps a start": float(np.mean(np.sum(metrics["inner_steps"], axis=1)))}
        )
        paths[name], paths[f"{name}_loss"] = np.asarray(thetas), losses
        figures[entry.label] = draw_trajectories(
            study.landscape,
            study.plane,
            {entry.label: np.asarray(thetas)},
            value_name="meta-loss",
            title="squares start, dots end",
        )
        progress("outer trajectories", index + 1, len(entries))
    good, bad = (choose(rows, key=lambda row: row["worst end"]) for choose in (min, max))
    ends = lambda row: f"{row['estimator']} ends between {row['best end']:.3g} and {row['worst end']:.3g}"
    stuck = f"{bad['starts that did not move']} of its starts did not move"
    sentence = f"From {len(starts)} starts {ends(good)}; {ends(bad)}, and {stuck}. Gradients that are not finite count as zero."
    return Section("Outer trajectories", sentence, figures, rows, arrays="arrays/trajectories.npz"), paths, rows


def signal(study, progress):
    """Signal to noise per inner step along the cut."""
    settings, config = study.config.comparison, study.config
    if not settings.points:
        return None, {}, []
    windows = ml.Truncation(study.horizon, config.problem.length, key=study.episode)
    whole = ml.Truncation(study.horizon, study.horizon, key=study.episode)
    smooth = {"sigma": config.problem.sigma, "num_pairs": settings.pairs}
    estimators = {
        "perturbed backprop": ml.backprop(
            study.problem, whole, sigma=config.problem.sigma, num_particles=2 * settings.pairs, rematerialise=True
        ),
        "full ES, NRES": ml.noise_reuse_es(study.problem, windows, **smooth),
        "PES": ml.persistent_es(study.problem, windows, **smooth),
        "truncated ES": ml.evolution_strategies(study.problem, windows, **smooth),
    }
    height, x = study.height, study.plane.x
    places = np.linspace(x.low, x.high, settings.points + 2)[1:-1]
    rows = []
    for index, place in enumerate(places):
        nothing = {name: jnp.zeros(2) for name in estimators}
        key = jax.random.fold_in(study.key, 200 + index)
        theta = jnp.array([place, height])
        found = ml.compare(
            estimators,
            theta,
            key,
            num_episodes=settings.episodes,
            reference=nothing,
            reference_pairs=2,
            unsmoothed=False,
        )
        for report in found.reports:
            snr = report.signal_to_noise_per_step
            floor = 1e6 / report.inner_steps / settings.episodes
            rows.append(
                {"place": place, "estimator": report.name, "snr": snr.value, "error": snr.error, "floor": floor}
            )
        progress("signal to noise", index + 1, len(places))
    es = [row["snr"] for row in rows if row["estimator"] == "full ES, NRES"]
    raw = [row for row in rows if row["estimator"] == "perturbed backprop"]
    seen = [row for row in raw if row["snr"] > 3 * row["floor"]]
    gain = max((a["snr"] / b for a, b in zip(raw, es) if b > 0), default=float("nan"))
    sentence = (
        f"The signal to noise of full ES per million inner steps stays between {min(es):.3g} and {max(es):.3g} along the "
        f"cut. That of backprop at perturbed places is up to {gain:.3g} times as large where training is smooth, and is told "
        f"from nothing at only {len(seen)} of {len(places)} places."
    )
    figure = draw_signal(rows, name=x.name, title=f"{study.plane.y.name} = {height:g}")
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return Section("Signal to noise", sentence, {"signal": figure}, arrays="arrays/signal.npz"), columns, rows


def zoom(study, progress):
    """A zoom into the border, its dimension, and a smooth control."""
    settings = study.config.zoom
    steps = {"num_steps": study.horizon, "key": study.episode}
    if not settings.frames:
        return None, {}, []
    try:
        x, y = ml.landscape.border_point(study.problem, study.plane, **steps)
    except ValueError as error:
        return Section("The border", f"No zoom: {error}"), {}, []
    figures, rows, arrays = {}, [], {}
    for index, plane in enumerate(ml.landscape.zoom(study.plane, x, y, settings.frames, factor=10.0)):
        report = lambda done, total, index=index: progress(f"frame {index + 1}", done, total)
        found = ml.landscape.trainability(
            study.problem, plane, resolution=settings.resolution, adaptive=True, progress=report, **steps
        )
        width = plane.x.high - plane.x.low
        table = ml.landscape.dimension_table(found.measure, found.undecided)
        row = next(row for row in table if row["rule"] == "3-point rule")
        names = {"dimension": "dimension", "error": "statistical", "control": "control", "said": "said"}
        rows.append({"width": width} | {name: row[key] for name, key in names.items()})
        arrays[f"measure_{index}"] = found.measure
        figures[f"frame {index + 1}"] = draw_landscapes({f"{width:.1e} wide": found})
    known = [
        f"{row['dimension']:.2f} ± {row['error']:.2f}" if np.isfinite(row["dimension"]) else "refused" for row in rows
    ]
    widths = ", ".join(f"{row['width']:.1e}" for row in rows)
    control = f"; a circle in the same pixels has {rows[0]['control']:.2f}" if np.isfinite(rows[0]["control"]) else ""
    sentence = (
        f"The border about ({x:.6g}, {y:.6g}) has, by the 3-point rule, the dimension {', '.join(known)} in windows "
        f"{widths} wide{control}."
    )
    shown = [{name: value for name, value in row.items() if name != "control"} for row in rows]
    return Section("The border", sentence, figures, shown, arrays="arrays/zoom.npz"), arrays, rows


def cards(study, progress):
    """The card at three places."""
    truncation = ml.Truncation(study.horizon, study.config.problem.length, key=study.episode)
    texts, rows = [], []
    chosen = dict(list(places_of(study).items())[: study.config.cards])
    if not chosen:
        return None, {}, []
    for index, (name, place) in enumerate(chosen.items()):
        key = jax.random.fold_in(study.key, 300 + index)
        card = ml.diagnose(study.problem, jnp.array(place), study.config.problem.sigma, truncation, key)
        texts.append(f"{name}: ({place[0]:.3g}, {place[1]:.3g})\n\n{card}")
        place = {"place": name, "x": float(place[0]), "y": float(place[1])}
        rows.append(place | {"exponent": card.exponent.value, "kappa": card.kappa} | card.recommendation._asdict())
        progress("cards", index + 1, len(chosen))
    advice = [
        f"at {row['place']} use {row['method']} (λ = {row['exponent']:.3g}, κ = {row['kappa']:.3g})" for row in rows
    ]
    sentence = "; ".join(advice)
    return Section("What to use", sentence[0].upper() + sentence[1:] + ".", text="\n\n\n".join(texts)), {}, rows


def places_of(study):
    """The smallest smoothed value, and places with the exponent of a quarter and of three quarters of what trains."""
    found, smooth = study.anatomy, next(iter(study.smooth.values()))
    at = lambda layer, index: tuple(
        float(axis.points(count)[i]) for axis, count, i in zip(study.plane[:2], layer.shape[::-1], index[::-1])
    )
    places = {
        "the best place after smoothing": at(
            smooth.value, np.unravel_index(np.argmin(smooth.value), smooth.value.shape)
        )
    }
    exponent = np.where(found.converged & np.isfinite(found.exponent), found.exponent, np.nan)
    for name, share in {"a place with a small exponent": 0.25, "a place with a large exponent": 0.75}.items():
        if not np.all(np.isnan(exponent)):
            away = np.abs(exponent - np.nanquantile(exponent, share))
            places[name] = at(exponent, np.unravel_index(np.nanargmin(away), away.shape))
    return places


def axes_of(plane, shape):
    return {"x": plane.x.points(shape[1]), "y": plane.y.points(shape[0])}


if __name__ == "__main__":
    application(main, "explain")
