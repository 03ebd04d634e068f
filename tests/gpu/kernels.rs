//! Every kernel against its plain reference: random data, odd sizes, poisoned outputs and unused slots.
use crate::bench::{At, Bench, Case, floats, numbers, whole};
use infill::model::cuda::args::*;
use infill::model::cuda::kind::{Kind, pack};
use infill::model::cuda::pass;
use infill::model::matrix::{Format, Matrix};
use infill::model::store::Store;

/// Weights in a format of the device.
struct W {
    data: At,
    scales: At,
}

const KINDS: [Kind; 4] = [Kind::Bf16, Kind::Q8, Kind::Q4K, Kind::F8];

fn weights(case: &mut Case, kind: Kind, rows: usize, cols: usize, seed: u32) -> W {
    let values = numbers(rows * cols, seed);
    let (data, scales) = match kind {
        Kind::F8 => {
            // Any bytes but NaN, and a scale for each 128 of a row.
            let data = values.iter().map(|x| ((x * 126.0).abs() as u8) | if *x < 0.0 { 128 } else { 0 }).collect();
            let scales = numbers(rows * cols.div_ceil(128), seed + 1);
            (data, scales.iter().flat_map(|x| (x * 0.01).to_le_bytes()).collect())
        }
        _ => pack(&matrix(rows, cols, &values), kind),
    };
    W { data: case.bytes(data), scales: case.bytes(scales) }
}

/// A matrix of f32, by way of a safetensors file: there is no other way in from outside the crate.
fn matrix(rows: usize, cols: usize, values: &[f32]) -> Matrix {
    let folder = tempfile::tempdir().unwrap();
    let config = include_str!("../../fixtures/reference/lite/config.json");
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![rows, cols], &bytes).unwrap();
    safetensors::serialize_to_file([("w", view)], None, &folder.path().join("model.safetensors")).unwrap();
    let (store, _) = Store::open(folder.path()).unwrap();
    let matrix = store.matrix("w", rows, cols).unwrap();
    assert_eq!(matrix.format, Format::F32);
    matrix
}

pub fn int(n: usize) -> i32 {
    n as i32
}

pub fn gemv(bench: &Bench) {
    let sizes = |kind| match kind {
        Kind::Bf16 => [72, 2088],
        Kind::Q8 => [96, 2144],
        Kind::Q4K => [256, 2304],
        _ => [144, 2160],
    };
    for kind in KINDS {
        for cols in sizes(kind) {
            for (n, t) in [(1usize, 1usize), (2, 2), (3, 4), (8, 8), (11, 8)] {
                for (norm, add) in [(false, false), (true, false), (false, true)] {
                    let (rows, ldx, ldy) = (37, cols + 32, 40);
                    let mut case = Case::new(bench);
                    let w = weights(&mut case, kind, rows, cols, 1);
                    let x = case.f32(&whole(n * ldx, 2));
                    // Powers of two: what is rounded to eight bits stays exact.
                    let scale: Vec<f32> = (0..cols).map(|_| 0.5).collect();
                    let norms = case.f32(&scale);
                    let y = if add {
                        let y = case.f32(&numbers(n * ldy, 3));
                        case.also_out(y, 2e-5)
                    } else {
                        case.out_f32(n * ldy, 2e-5)
                    };
                    let most = if t == 8 { 1024 } else { 2048 };
                    let shared = (t * kind.staged(cols.next_multiple_of(256).min(most))).max(t * 32);
                    let name = format!("gemv_{}", kind.suffix());
                    case.run(&format!("{name}_{t}"), &name, [rows.div_ceil(16), n.div_ceil(t), 1], shared, |at| Gemv {
                        w: at(w.data),
                        scales: at(w.scales),
                        x: at(x),
                        norm: if norm { at(norms) } else { 0 },
                        y: at(y),
                        rows: int(rows),
                        cols: int(cols),
                        n: int(n),
                        ldx: int(ldx),
                        ldy: int(ldy),
                        add: i32::from(add),
                        eps: 1e-6,
                        unused: 0,
                    });
                }
            }
        }
    }
}

pub fn experts(bench: &Bench) {
    for kind in KINDS {
        let (hidden, inner, shared_inner, experts) = match kind {
            Kind::Bf16 => (2056, 24, 40, 5),
            Kind::Q4K => (256, 256, 512, 4),
            _ => (288, 32, 96, 5),
        };
        for (n, chosen, shared_inner) in [(1, 3, shared_inner), (3, 2, shared_inner), (2, 2, 0), (2, 0, shared_inner)] {
            let ids: Vec<i32> = (0..n * chosen).map(|i| ((i % chosen.max(1)) * 2 + i / chosen.max(1)) as i32 % experts as i32).collect();
            let ldact = chosen * inner + shared_inner + 8;
            let mut case = Case::new(bench);
            let [gate, up] = [1, 2].map(|seed| weights(&mut case, kind, experts * inner, hidden, seed));
            let [shared_gate, shared_up] = [3, 4].map(|seed| weights(&mut case, kind, shared_inner.max(8), hidden, seed));
            let (x, norm) = (case.f32(&whole(n * hidden, 5)), case.f32(&vec![0.25; hidden]));
            let chosen_ids = case.i32(&ids);
            let act = case.out_f32(n * ldact, 5e-5);
            let pairs = n * (chosen + usize::from(shared_inner > 0));
            let widest = if chosen > 0 { inner.max(shared_inner) } else { shared_inner };
            let shared = kind.staged(hidden.next_multiple_of(256).min(2048));
            let name = format!("gate_up_{}", kind.suffix());
            case.run(&name, &name, [widest.div_ceil(8), pairs, 1], shared, |at| GateUp {
                gate: at(gate.data),
                gate_scales: at(gate.scales),
                up: at(up.data),
                up_scales: at(up.scales),
                shared_gate: at(shared_gate.data),
                shared_gate_scales: at(shared_gate.scales),
                shared_up: at(shared_up.data),
                shared_up_scales: at(shared_up.scales),
                x: at(x),
                norm: at(norm),
                ids: at(chosen_ids),
                act: at(act),
                hidden: int(hidden),
                inner: int(inner),
                shared_inner: int(shared_inner),
                n: int(n),
                chosen: int(chosen),
                ldact: int(ldact),
                eps: 1e-6,
                unused: 0,
            });

            let mut case = Case::new(bench);
            let w = weights(&mut case, kind, experts * hidden, inner, 6);
            let shared_w = weights(&mut case, kind, hidden, shared_inner.max(256), 7);
            let act = case.f32(&whole(n * ldact.next_multiple_of(32), 8));
            let (chosen_ids, factors) = (case.i32(&ids), case.f32(&numbers(n * chosen, 9)));
            let x = case.f32(&numbers(n * hidden, 10));
            let x = case.also_out(x, 2e-5);
            let shared = kind.staged((chosen * inner + shared_inner).next_multiple_of(256));
            let name = format!("down_{}", kind.suffix());
            case.run(&name, &name, [hidden.div_ceil(8), n, 1], shared, |at| Down {
                w: at(w.data),
                scales: at(w.scales),
                shared_w: at(shared_w.data),
                shared_scales: at(shared_w.scales),
                act: at(act),
                ids: at(chosen_ids),
                weights: at(factors),
                x: at(x),
                hidden: int(hidden),
                inner: int(inner),
                shared_inner: int(shared_inner),
                n: int(n),
                chosen: int(chosen),
                ldact: int(ldact.next_multiple_of(32)),
                ldx: int(hidden),
                unused: 0,
            });
        }
    }
}

pub fn router(bench: &Bench) {
    // (experts, chosen, groups, used): Lite, 236B, odd ones.
    for (experts, chosen, groups, used, normalise) in [(64usize, 6usize, 0, 0, 0), (160, 6, 8, 3, 0), (12, 3, 4, 2, 1), (5, 5, 0, 0, 1)] {
        for (n, t) in [(1usize, 1usize), (3, 8), (11, 8)] {
            let hidden = 264;
            let mut case = Case::new(bench);
            let (x, norm) = (case.f32(&numbers(n * hidden, 1)), case.f32(&numbers(hidden, 2)));
            let w = case.f32(&numbers(experts * hidden, 3));
            let scores = case.out_f32(n * experts, 2e-5);
            // Zero, and zero again afterwards.
            let tickets = case.i32(&vec![0; n]);
            let (ids, weights) = (case.out_i32(n * chosen), case.out_f32(n * chosen, 2e-5));
            let shared = (t * Kind::F32.staged(512)).max(8 * experts * 4);
            case.run(&format!("router_{t}"), "router", [experts.div_ceil(8), n.div_ceil(t), 1], shared, |at| Router {
                x: at(x),
                norm: at(norm),
                w: at(w),
                scores: at(scores),
                tickets: at(tickets),
                ids: at(ids),
                weights: at(weights),
                hidden: int(hidden),
                experts: int(experts),
                chosen: int(chosen),
                groups,
                used,
                normalise,
                n: int(n),
                scale: 1.5,
                eps: 1e-6,
                unused: 0,
            });
        }
    }
}

pub fn gemm(bench: &Bench) {
    for kind in KINDS {
        let k = match kind {
            Kind::Bf16 => 200,
            Kind::Q8 => 224,
            Kind::Q4K => 256,
            _ => 208,
        };
        for (m, n, mode, gated) in
            [(70usize, 150usize, 0, false), (9, 33, 1, false), (65, 130, 2, false), (70, 70, 2, true), (3, 64, 2, true)]
        {
            let (lda, ldc) = (k + 8, n + 3);
            let mut case = Case::new(bench);
            let a = case.bf16(&numbers(m * lda, 1));
            let [w, w2] = [2, 4].map(|seed| weights(&mut case, kind, n, k, seed));
            let c = output(&mut case, m * ldc, mode);
            let name = format!("{}_{}", if gated { "gated" } else { "gemm" }, kind.suffix());
            let grid = [n.div_ceil(if gated { 64 } else { 128 }), m.div_ceil(64), 1];
            case.run(&name, &name, grid, GEMM, |at| Gemm {
                a: at(a),
                w: at(w.data),
                scales: at(w.scales),
                w2: at(w2.data),
                scales2: at(w2.scales),
                c: at(c),
                m: int(m),
                n: int(n),
                k: int(k),
                lda: int(lda),
                ldc: int(ldc),
                mode,
                ..Gemm::default()
            });
        }
        grouped(bench, kind, k);
    }
    batched(bench);
}

const GEMM: usize = 3 * 192 * 72 * 2;

fn output(case: &mut Case, n: usize, mode: i32) -> At {
    match mode {
        0 => case.out_f32(n, 1e-4),
        1 => {
            let c = case.f32(&numbers(n, 5));
            case.also_out(c, 1e-4)
        }
        _ => case.out_bf16(n, 5e-3),
    }
}

/// Experts with 70, 0, 1 and 64 rows, in tiles of 64; one tile too many.
fn grouped(bench: &Bench, kind: Kind, k: usize) {
    let tiles = [0, 0, 70, 0, 64, 70, 2, 70, 71, 3, 71, 135, -1, 0, 0, -2, 0, 0];
    for gated in [true, false] {
        let (rows, n, tokens) = (135usize, 72usize, 40i32);
        let from: Vec<i32> = (0..rows as i32).map(|i| i * 11 % tokens).collect();
        let mut case = Case::new(bench);
        let a = case.bf16(&numbers(if gated { tokens as usize } else { rows } * k, 1));
        let [w, w2] = [2, 4].map(|seed| weights(&mut case, kind, 4 * n, k, seed));
        let c = output(&mut case, rows * n, if gated { 2 } else { 0 });
        let (from, list) = (case.i32(&from), case.i32(&tiles));
        let name = format!("{}_{}", if gated { "gated" } else { "gemm" }, kind.suffix());
        case.run(&name, &name, [n.div_ceil(if gated { 64 } else { 128 }), 5, 1], GEMM, |at| Gemm {
            a: at(a),
            w: at(w.data),
            scales: at(w.scales),
            w2: at(w2.data),
            scales2: at(w2.scales),
            c: at(c),
            from: if gated { at(from) } else { 0 },
            tiles: at(list),
            n: int(n),
            k: int(k),
            lda: int(k),
            ldc: int(n),
            mode: if gated { 2 } else { 0 },
            ..Gemm::default()
        });
    }
}

/// Two heads, columns side by side.
fn batched(bench: &Bench) {
    let (m, n, k) = (10usize, 136usize, 40usize);
    let mut case = Case::new(bench);
    let (a, w) = (case.bf16(&numbers(m * 2 * k, 1)), case.bf16(&numbers(2 * n * k, 2)));
    let c = case.out_bf16(m * 2 * n, 5e-3);
    case.run("gemm_bf16", "gemm_bf16", [n.div_ceil(128), 1, 2], GEMM, |at| Gemm {
        a: at(a),
        w: at(w),
        c: at(c),
        a_step: k as u64,
        w_step: n as u64,
        c_step: n as u64,
        m: int(m),
        n: int(n),
        k: int(k),
        lda: int(2 * k),
        ldc: int(2 * n),
        mode: 2,
        ..Gemm::default()
    });
}

pub fn sort(bench: &Bench) {
    for (n, chosen, experts) in [(3usize, 2usize, 5usize), (50, 6, 64), (200, 3, 4)] {
        let ids: Vec<i32> = (0..n).flat_map(|t| (0..chosen).map(move |s| ((t * t + s * 3) % (experts - chosen + 1) + s) as i32)).collect();
        let most = infill::model::cuda::scratch::most_tiles(n * chosen, experts);
        let mut case = Case::new(bench);
        let at_ids = case.i32(&ids);
        let (from, place, tiles) = (case.i32(&vec![-9; n * chosen]), case.i32(&vec![-9; n * chosen]), case.i32(&vec![-9; most * 3]));
        // The order inside an expert is free: looked at below instead of compared.
        [from, place, tiles].iter().for_each(|a| case.free(*a));
        let got = case.run_with(1024, "sort", "sort", [1, 1, 1], (2 * experts + 1) * 4, |at| Sort {
            ids: at(at_ids),
            from: at(from),
            place: at(place),
            tiles: at(tiles),
            n: int(n),
            chosen: int(chosen),
            experts: int(experts),
            most: int(most),
        });
        let ints = |i: usize| got[i].chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>();
        let (from, place, tiles) = (ints(1), ints(2), ints(3));
        let mut expert_of = vec![-1; n * chosen];
        for (pair, row) in place.iter().enumerate() {
            assert_eq!(from[*row as usize] as usize, pair / chosen);
            assert_eq!(std::mem::replace(&mut expert_of[*row as usize], ids[pair]), -1, "two pairs in one row");
        }
        assert!(expert_of.is_sorted());
        let mut row = 0;
        for tile in tiles.chunks_exact(3).filter(|t| t[0] >= 0) {
            assert_eq!(tile[1], row, "tiles follow each other");
            let end = tile[2].min(tile[1] + 64);
            assert!(
                (tile[1]..end).all(|r| expert_of[r as usize] == tile[0])
                    && tile[2] as usize == expert_of.partition_point(|e| *e <= tile[0])
            );
            row = end;
        }
        assert_eq!(row as usize, n * chosen);
    }
    let (hidden, chosen) = (264, 2);
    let mut case = Case::new(bench);
    let (rows, place) = (case.f32(&numbers(6 * hidden, 1)), case.i32(&[4, 0, 1, 5, 3, 2]));
    let (weights, x) = (case.f32(&numbers(6, 2)), case.f32(&numbers(3 * hidden, 3)));
    let x = case.also_out(x, 1e-5);
    case.run("gather", "gather", [3, 1, 1], 0, |at| Gather {
        rows: at(rows),
        place: at(place),
        weights: at(weights),
        x: at(x),
        hidden: int(hidden),
        chosen: int(chosen),
    });
}

pub fn sample(bench: &Bench) {
    for (vocab, limit, masked, next) in [(1000usize, 1000usize, false, 3), (5000, 4990, true, 3), (70, 64, true, 0)] {
        let mut logits: Vec<f32> = numbers(2 * vocab, 1).iter().map(|x| (x * 40.0).round() / 4.0).collect();
        // Ties, infinities, no numbers, and the best of all behind the limit.
        logits[5] = f32::NAN;
        logits[6] = f32::NEG_INFINITY;
        logits[vocab - 1] = 99.0;
        let mut case = Case::new(bench);
        let logits = case.f32(&logits);
        let words = 2 * vocab.div_ceil(32);
        let mask = case.i32(&(0..words).map(|i| if i % 3 == 0 { 0 } else { 0x5a5a_5a5a << (i % 2) }).collect::<Vec<_>>());
        let blocks = 3;
        let partial = case.f32(&vec![0.0; 2 * blocks * 3]);
        case.free(partial);
        let tickets = case.i32(&[0, 0]);
        let picked = case.i32(&[-7; 4]);
        case.free(picked);
        let (tokens, start, step) = (case.i32(&[9, 9]), case.i32(&[40, 7]), case.i32(&[1, 0]));
        let trace = case.i32(&[-7; 12]);
        [tokens, start, step, trace].iter().for_each(|a| case.free(*a));
        let got = case.run("sample", "sample", [blocks, 2, 1], 128, |at| Sample {
            logits: at(logits),
            mask: if masked { at(mask) } else { 0 },
            partial: at(partial),
            tickets: at(tickets),
            picked: at(picked),
            tokens: at(tokens),
            start: at(start),
            trace: at(trace),
            step: at(step),
            vocab: int(vocab),
            limit: int(limit),
            next,
            unused: 0,
        });
        let want = case.reference("sample", |at| Sample {
            logits: at(logits),
            mask: if masked { at(mask) } else { 0 },
            picked: at(picked),
            tokens: at(tokens),
            start: at(start),
            trace: at(trace),
            step: at(step),
            vocab: int(vocab),
            limit: int(limit),
            next,
            ..Sample::default()
        });
        let ints = |all: &[u8]| all.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>();
        let (a, b) = (ints(&got[4]), ints(&want[4]));
        assert_eq!((a[0], a[2]), (b[0], b[2]), "vocab {vocab}");
        for (x, y) in floats(&got[4]).iter().zip(floats(&want[4])).skip(1).step_by(2) {
            assert!((x - y).abs() < 1e-5, "log-probability {x}, not {y}");
        }
        for i in [5, 6, 7] {
            assert_eq!(ints(&got[i]), ints(&want[i]), "state {i}");
        }
        // Two rows of three steps: the first one's second, the other's first.
        assert_eq!([2, 6].map(|i| ints(&got[8])[i]), if next == 3 { [a[0], a[2]] } else { [-7, -7] });
    }
}

pub fn small(bench: &Bench) {
    for kind in KINDS {
        let cols = 256;
        let mut case = Case::new(bench);
        let w = weights(&mut case, kind, 9, cols, 1);
        let (tokens, x) = (case.i32(&[8, 0, 3]), case.out_f32(3 * cols, 1e-6));
        let name = format!("embed_{}", kind.suffix());
        case.run(&name, &name, [3, 1, 1], 0, |at| Embed {
            w: at(w.data),
            scales: at(w.scales),
            tokens: at(tokens),
            x: at(x),
            vocab: 9,
            cols: int(cols),
        });
    }
    for (cols, with_delta) in [(72, false), (2056, true)] {
        let ldx = cols + 4;
        let mut case = Case::new(bench);
        let x = case.f32(&numbers(3 * ldx, 1));
        let x = if with_delta { case.also_out(x, 1e-6) } else { x };
        let (delta, weight) = (case.f32(&numbers(3 * cols, 2)), case.f32(&numbers(cols, 3)));
        let out = case.out_bf16(3 * cols, 4e-3);
        case.run("rms_norm", "rms_norm", [3, 1, 1], 64, |at| Norm {
            x: at(x),
            delta: if with_delta { at(delta) } else { 0 },
            weight: at(weight),
            out: at(out),
            cols: int(cols),
            ldx: int(ldx),
            eps: 1e-6,
            unused: 0,
        });
    }
    let (layers, width) = (3, 24);
    let mut case = Case::new(bench);
    let pool = case.bf16(&numbers(4 * layers * 16 * width, 1));
    let pool = case.also_out(pool, 0.0);
    case.run("copy_block", "copy_block", [layers, 1, 1], 0, |at| CopyBlock {
        pool: at(pool),
        from: 2,
        to: 1,
        slots: 5,
        layers: int(layers),
        width: int(width),
        unused: 0,
    });
}

/// The launches that a pass makes are of kernels that exist, in both targets.
pub fn launches_name_kernels(_: &Bench) {
    let texts = infill::model::cuda::ptx::texts("90a").unwrap();
    let known: Vec<&str> = texts.iter().flat_map(|(_, text)| infill::model::cuda::ptx::kernels(text)).collect();
    for kind in KINDS {
        for name in ["gemv_X_1", "gemv_X_2", "gemv_X_4", "gemv_X_8", "gate_up_X", "down_X", "gemm_X", "gated_X", "embed_X"] {
            let name = name.replace('X', kind.suffix());
            assert!(known.contains(&name.as_str()), "{name}");
        }
    }
    for name in ["latent_f32", "latent_bf16", "latent_split", "mla_decode", "mla_tiles_1", "mla_tiles_4"] {
        assert!(known.contains(&name) && known.contains(&format!("{name}_f8").as_str()), "{name}");
    }
    let _ = pass::bucket(1);
}
