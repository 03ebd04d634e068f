//! The command line.
//!
//! ```text
//! infill demo                       see it work
//! infill lsp                        what an editor starts
//! infill serve --listen HOST:PORT       what it shares with the others, over HTTP too
//! infill complete src/a.py:12:9     one completion
//! ```
use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use infill::complete::Target;
use infill::config::{self, Layer};
use infill::engine::configured;
use infill::engine::{Engine, Unavailable};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

mod serve;

/// Code completion by a local DeepSeek-V2 model.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve an editor over stdin and stdout.
    Lsp {
        /// Accepted for clients that pass it: stdio is what is spoken anyway.
        #[arg(long)]
        stdio: bool,
        /// Write the log here instead of stderr. INFILL_LOG sets the level (error, warn, info, debug, trace).
        #[arg(long, value_name = "FILE")]
        log: Option<PathBuf>,
        /// Write each message in and out, a JSON object a line.
        #[arg(long, value_name = "FILE")]
        record: Option<PathBuf>,
        #[command(flatten)]
        model: Model,
    },
    /// Serve completions: to all windows of this user, and over HTTP with --listen. Windows start one themselves.
    Serve {
        /// Answer HTTP here too, such as 127.0.0.1:8080 (default: server.listen). Other machines need a token: server.token_env.
        #[arg(long, value_name = "HOST:PORT")]
        listen: Option<String>,
        /// Write the log here instead of stderr.
        #[arg(long, value_name = "FILE")]
        log: Option<PathBuf>,
        /// Ask the running server to leave.
        #[arg(long, conflicts_with_all = ["listen", "log", "detached"])]
        stop: bool,
        /// Started by a window: a session of its own, and it leaves when it is idle.
        #[arg(long, hide = true)]
        detached: bool,
        #[command(flatten)]
        model: Model,
    },
    /// Print the completion at a place in a file.
    Complete {
        /// FILE:LINE:COLUMN, counted from 1; "-" reads the text from stdin and takes the place from PLACE.
        target: String,
        /// FILE:LINE:COLUMN of the text on stdin.
        place: Option<String>,
        /// Text, tokens, times and cache figures as JSON.
        #[arg(long)]
        json: bool,
        /// Show the model what the other files of FOLDER define, as an editor does that has it open.
        #[arg(long, value_name = "FOLDER")]
        workspace: Option<PathBuf>,
        #[command(flatten)]
        model: Model,
    },
    /// Replay a typing session against the real server, in the terminal.
    Demo {
        /// The figures as JSON, nothing else.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        model: Model,
    },
    /// Measure.
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
    /// How good the suggestions are: published benchmarks, and holes in your own code.
    Eval {
        #[command(subcommand)]
        benchmark: infill::eval::Benchmark,
    },
    /// Download a model into the Hugging Face cache; what is there already is used as it is.
    Pull {
        #[command(flatten)]
        options: infill::hub::pull::Options,
    },
    /// List the models: what is here, what fits this machine, which to pick.
    Models {
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        model: Model,
    },
    /// Write a Hugging Face folder as one GGUF file, a fraction of its size.
    Quantize {
        #[command(flatten)]
        options: infill::quantize::Options,
    },
    /// Compare a checkpoint's logits with the reference.safetensors beside it.
    Verify {
        dir: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Check what is here: binary, configuration, model, memory, editors. Fails when something needs a remedy.
    Doctor {
        #[arg(long)]
        json: bool,
        /// Whether FILE is shown to the model as context for other files, and why not.
        #[arg(long, value_name = "FILE")]
        explain: Option<PathBuf>,
        #[command(flatten)]
        model: Model,
    },
    /// Print the effective configuration, and where each value comes from.
    Config {
        /// The JSON schema instead.
        #[arg(long)]
        schema: bool,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// What a keystroke costs: a typing trace under our prompt layout and the peers'.
    Trace {
        #[command(flatten)]
        options: infill::bench::Options,
        #[command(flatten)]
        model: Model,
    },
    /// Whether the prompt holds the definitions that the next line needs: recall, for the lines of a project.
    Context {
        #[command(flatten)]
        options: infill::bench::context::Options,
    },
    /// What the parser costs: a file at once, and at each key.
    Parse {
        #[command(flatten)]
        options: infill::bench::parse::Options,
    },
    /// How fast the model itself is: prefill and decode, beside what this machine allows.
    Model {
        #[command(flatten)]
        options: infill::bench::model::Options,
    },
    /// What the frozen hole costs in quality: held-out lines against a fresh prefix-suffix split.
    Quality {
        #[command(flatten)]
        options: infill::bench::quality::Options,
        #[command(flatten)]
        model: Model,
    },
}

#[derive(clap::Args)]
struct Model {
    /// "nano", a name from "infill models", a folder with config.json, or a GGUF file.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Where it runs: "auto", "cpu", or "cuda:0" for NVIDIA GPU number 0.
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
}

impl Model {
    /// File, environment, and these options on top.
    fn layers(&self) -> Result<Vec<Layer>> {
        let mut layers = config::user_layers()?;
        layers.extend(self.named());
        config::merge(&layers)?;
        Ok(layers)
    }

    fn named(&self) -> impl Iterator<Item = Layer> {
        let options = [("model", &self.model), ("device", &self.device)];
        let layer = |(key, value): (&str, &Option<String>)| {
            let value = config::nest(key, value.as_deref()?.into());
            Some(Layer { place: format!("--{key}"), value })
        };
        options.into_iter().filter_map(layer)
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("infill: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Lsp { stdio: _, log, record, model } => lsp(log, record, &model),
        Command::Serve { stop: true, .. } => serve::stop(),
        Command::Serve { listen, log, stop: false, detached, model } => serve::run(listen, log, detached, model.layers()?),
        Command::Complete { target, place, json, workspace, model } => {
            complete(&target, place.as_deref(), json, workspace.as_deref(), &model)
        }
        Command::Demo { json, model } => demo(json, &model),
        Command::Bench { bench } => measure(&bench),
        Command::Eval { benchmark } => evaluate(&benchmark),
        Command::Pull { options } => pull(&options),
        Command::Models { json, model } => models(json, &model),
        Command::Quantize { options } => {
            let written = infill::quantize::run(&options)?;
            println!("{}: {} tensors, {:.2} GB", options.out.display(), written.tensors, written.bytes as f64 / 1e9);
            Ok(ExitCode::SUCCESS)
        }
        Command::Verify { dir, json } => verify(&dir, json),
        Command::Doctor { explain: Some(file), json, .. } => explain(&file, json),
        Command::Doctor { json, model, explain: None } => doctor(json, &model),
        Command::Config { schema } => print_config(schema),
    }
}

fn measure(bench: &Bench) -> Result<ExitCode> {
    match bench {
        Bench::Trace { options, model } => infill::bench::run(options, &config::merge(&model.layers()?)?.config)?,
        Bench::Context { options } => infill::bench::context::run(options)?,
        Bench::Parse { options } => infill::bench::parse::run(options)?,
        Bench::Model { options } => infill::bench::model::run(options)?,
        Bench::Quality { options, model } => infill::bench::quality::run(options, &config::merge(&model.layers()?)?.config)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn evaluate(benchmark: &infill::eval::Benchmark) -> Result<ExitCode> {
    let mut layers = config::user_layers()?;
    layers.extend(benchmark.layers());
    let config = config::merge(&layers)?.config;
    infill::eval::run(benchmark, &config, &configured::open(&config)?)?;
    Ok(ExitCode::SUCCESS)
}

fn lsp(log: Option<PathBuf>, record: Option<PathBuf>, model: &Model) -> Result<ExitCode> {
    let _flush = start_log(log)?;
    // A wrong setting must not leave the editor without a server: say it there, and go on with the defaults.
    let (layers, problem) = match model.layers() {
        Ok(layers) => (layers, None),
        Err(error) => (Vec::new(), Some(format!("infill: {error:#}. The defaults are in force."))),
    };
    let record = record
        .map(|path| std::fs::File::create(&path).with_context(|| format!("--record {}: cannot be written", path.display())))
        .transpose()?;
    let config = config::merge(&layers)?.config;
    // One thread reads, applies and answers a key: it waits for no other to wake up. What takes long has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let opened = configured::for_window(&config);
    let (engine, problem): (Arc<dyn Engine>, _) = match opened {
        Ok(engine) => (engine, problem),
        Err(error) => (Arc::new(Unavailable(error.clone())), problem.or(Some(format!("infill: {error}")))),
    };
    let options = infill::lsp::Options { engine, layers, record, problem };
    let (input, output) = infill::lsp::stdio::open();
    let code = runtime.block_on(infill::lsp::serve(input, output, options));
    // A thread may still block in a read of stdin: leave without waiting for it.
    drop(_flush);
    std::process::exit(code)
}

fn complete(target: &str, place: Option<&str>, json: bool, folder: Option<&Path>, model: &Model) -> Result<ExitCode> {
    let stdin = target == "-";
    if let Some(place) = place.filter(|_| !stdin) {
        bail!("\"{place}\" is one argument too many: only \"-\" (text from stdin) takes a place after it");
    }
    let place = if stdin { place.context("with \"-\", the place must follow: infill complete - FILE:LINE:COLUMN")? } else { target };
    let target: Target = place.parse().map_err(anyhow::Error::msg)?;
    let (text, cursor) = if stdin {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        infill::complete::read(&target, bytes)?
    } else {
        infill::complete::read_file(&target)?
    };
    let config = config::merge(&model.layers()?)?.config;
    let around = folder.map(|folder| infill::complete::around(folder, &target, &config)).transpose()?;
    let engine = configured::open(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let completion = runtime.block_on(async {
        engine.loaded().await?;
        infill::complete::complete(&engine, &config, around, text, cursor).await
    })?;
    let mut out = std::io::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&completion)?)?;
    } else {
        writeln!(out, "{}", completion.text)?;
        if completion.text.is_empty() {
            eprintln!("infill: nothing to suggest there");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn demo(json: bool, model: &Model) -> Result<ExitCode> {
    model.layers()?;
    let figures = infill::demo::run(model.model.as_deref(), json)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn pull(options: &infill::hub::pull::Options) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let path = runtime.block_on(infill::hub::pull::run(options))?;
    writeln!(std::io::stdout(), "{}", path.display())?;
    eprintln!("to use it: model = \"{}\" in {}", options.model, config::user_file().unwrap_or_default().display());
    Ok(ExitCode::SUCCESS)
}

fn models(json: bool, model: &Model) -> Result<ExitCode> {
    let report = infill::models::report(&config::merge(&model.layers()?)?.config);
    let mut out = std::io::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(dir: &std::path::Path, json: bool) -> Result<ExitCode> {
    let report = infill::verify::verify(dir)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for p in &report.prompts {
            println!(
                "{:>8}  {:>4} tokens  {:>3} positions  max |difference| {:.2e}  same argmax {:.1} %",
                p.name,
                p.tokens,
                p.positions,
                p.max_difference,
                p.argmax_equal * 100.0
            );
        }
        let verdict = if report.pass { "agrees with the reference" } else { "DIFFERS from the reference" };
        println!(
            "{} ({}) {verdict}: max |difference| {:.2e}, allowed {:.0e}",
            report.model,
            report.format,
            report.max_difference,
            infill::verify::TOLERANCE
        );
    }
    Ok(if report.pass { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn explain(file: &Path, json: bool) -> Result<ExitCode> {
    let config = config::merge(&config::user_layers()?)?.config;
    let said = infill::doctor::explain::explain(file, &config)?;
    println!("{}", if json { serde_json::to_string(&said)? } else { said.to_string() });
    Ok(if said.read { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn doctor(json: bool, model: &Model) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = runtime.block_on(infill::doctor::examine(config::user_layers(), model.named().collect()));
    let mut out = std::io::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&findings)?)?;
    } else {
        findings.iter().try_for_each(|finding| writeln!(out, "{finding}"))?;
    }
    let bad = findings.iter().any(|f| f.mark == infill::doctor::Mark::Bad);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print_config(schema: bool) -> Result<ExitCode> {
    if schema {
        println!("{}", serde_json::to_string_pretty(&config::schema())?);
        return Ok(ExitCode::SUCCESS);
    }
    let loaded = config::merge(&config::user_layers()?)?;
    print!("{}", loaded.to_toml()?);
    Ok(ExitCode::SUCCESS)
}

/// Logs to stderr or a file; stdout is the protocol's.
pub(crate) fn start_log(file: Option<PathBuf>) -> Result<Option<tracing_appender::non_blocking::WorkerGuard>> {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("INFILL_LOG").unwrap_or_else(|_| EnvFilter::new("infill=info,warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let Some(path) = file else {
        builder.with_writer(std::io::stderr).init();
        return Ok(None);
    };
    if path.is_dir() {
        bail!("--log {}: is a folder: name a file", path.display());
    }
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("--log {}: cannot be written", path.display()))?;
    let (writer, guard) = tracing_appender::non_blocking(file);
    builder.with_writer(writer).init();
    Ok(Some(guard))
}
