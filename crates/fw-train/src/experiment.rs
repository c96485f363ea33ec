//! An experiment: what is trained, on what, and how.

use std::path::Path;

use serde::Serialize;
use toml::{Table, Value};

use crate::Error;
use crate::error::require;
use crate::models::ModelConfig;
use crate::plain::to_toml;
use crate::settings::{self, Section};
use crate::tasks::{AnswerFormat, TaskConfig};
use crate::training::{Curriculum, Goal, OptimizerConfig, TestConfig, TrainingConfig};

/// A validated experiment: the sections of a TOML file, every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Experiment {
    /// `[task]`
    pub task: TaskConfig,
    /// `[model]`
    pub model: ModelConfig,
    /// `[optimizer]`
    pub optimizer: OptimizerConfig,
    /// `[training]`
    pub training: TrainingConfig,
    /// `[test]`
    #[serde(skip_serializing_if = "TestConfig::is_empty")]
    pub test: TestConfig,
    /// `[[goal]]`
    #[serde(rename = "goal", skip_serializing_if = "Vec::is_empty")]
    pub goals: Vec<Goal>,
    /// The easier tasks that training begins with, as `[training.curriculum]` says.
    #[serde(skip)]
    pub easier: Vec<TaskConfig>,
    /// The tasks that the trained model is also tested on, as `[test]` says.
    #[serde(skip)]
    pub slices: Vec<SliceOfTask>,
}

/// The task with another value of one of its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceOfTask {
    /// The name of the setting.
    pub setting: String,
    /// Its value.
    pub value: Value,
    /// The task with it.
    pub task: TaskConfig,
}

/// The experiment of `train` without a file.
const DEFAULT: &str = include_str!("../default.toml");

impl Experiment {
    /// The default experiment, as TOML.
    pub fn default_document() -> Table {
        DEFAULT.parse().expect("default.toml is valid TOML")
    }

    /// A TOML file, not yet validated.
    pub fn read_document(path: &Path) -> Result<Table, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        text.parse().map_err(|error: toml::de::Error| {
            Error::usage(format!("{} is not valid TOML\n{error}", path.display()))
        })
    }

    /// A text in TOML, not yet validated.
    pub fn parse_document(text: &str) -> Result<Table, Error> {
        text.parse().map_err(|error: toml::de::Error| {
            Error::usage(format!("the experiment is not valid TOML\n{error}"))
        })
    }

    /// The experiment that a TOML document describes, after `section.field=value` assignments.
    pub fn from_document(mut document: Table, assignments: &[String]) -> Result<Self, Error> {
        settings::set_all(&mut document, assignments)?;
        let task = Section::take(&mut document, "task")?;
        let model = Section::take(&mut document, "model")?;
        let optimizer = Section::take(&mut document, "optimizer")?;
        let training = Section::take(&mut document, "training")?;
        let test = Section::take(&mut document, "test")?;
        let goals = Section::take_all(&mut document, "goal")?;
        if let Some(unknown) = document.keys().next() {
            if ["tasks", "models", "grid"].contains(&unknown.as_str()) {
                return Err(Error::usage(format!(
                    "[{unknown}] makes several experiments of one file: `fw-train compare` trains them"
                )));
            }
            return Err(Error::usage(format!(
                "[{unknown}] is not a section of an experiment; \
                 the sections are [task], [model], [optimizer], [training], [test] and [[goal]]"
            )));
        }
        let training = TrainingConfig::from_section(training)?;
        let own = TaskConfig::from_section(task.clone())?;
        // Another text is read with the letters of this one, not with its own.
        let section = match own.alphabet() {
            Some(alphabet) => task.with("alphabet", alphabet.into()),
            None => task,
        };
        let easier = match &training.curriculum {
            Some(curriculum) => curriculum.tasks(&section)?,
            None => Vec::new(),
        };
        let test: TestConfig = test.parse()?;
        let slices = test.slices(&section)?;
        let goals = goals
            .into_iter()
            .map(|goal| Goal::from_section(goal, &test));
        let goals = goals.collect::<Result<_, _>>()?;
        let task = own;
        let format = task.task().format();
        let is_text = matches!(format.answer, AnswerFormat::Text { .. });
        let rule =
            "be false: only a text goes on from window to window (task.kind = \"characters\")";
        let carries = training.carry_state;
        require(is_text || !carries, "training.carry_state", carries, rule)?;
        let model = ModelConfig::from_section(model, task.task())?;
        let rule = "be of a size that does not grow where training.carry_state is set: with model.max_memories = N for sab, with another \
                    model.form for fast weights, and never for attention and self-attention";
        let (kind, grows) = (model.layer.kind(), model.layer.grows());
        require(!carries || !grows, "what the layer carries", kind, rule)?;
        let keeps = |other: &TaskConfig, whose: String| {
            let moves_source = model.layer.reads_source()
                && other.task().source_length() != task.task().source_length();
            let changed = if other.task().format() != format || other.alphabet() != task.alphabet()
            {
                "what the model reads or answers"
            } else if moves_source {
                "where the source ends, which an encoder-decoder is built for"
            } else {
                return Ok(());
            };
            Err(Error::usage(format!(
                "{whose} changes {changed}; it must leave that as it is"
            )))
        };
        for (place, easier) in easier.iter().enumerate() {
            let n = place + 1;
            keeps(
                easier,
                format!("the value at place {n} of training.curriculum.values"),
            )?;
        }
        for slice in &slices {
            if carries && slice.setting == "length" {
                return Err(Error::usage(
                    "test.length: with training.carry_state the whole text is read with one state, whatever the length of a window; leave it out",
                ));
            }
            keeps(
                &slice.task,
                format!("test.{} = {}", slice.setting, slice.value),
            )?;
        }
        Ok(Experiment {
            model,
            task,
            optimizer: OptimizerConfig::from_section(optimizer)?,
            training,
            test,
            goals,
            easier,
            slices,
        })
    }

    /// The task of a stage of training: those of the curriculum, then the task itself.
    pub(crate) fn task_of_stage(&self, stage: usize) -> &TaskConfig {
        self.easier.get(stage).unwrap_or(&self.task)
    }

    /// The experiment as TOML, every default written out.
    pub fn to_toml(&self) -> String {
        to_toml(self)
    }
}

impl TestConfig {
    /// The task with each value of each setting.
    fn slices(&self, task: &Section) -> Result<Vec<SliceOfTask>, Error> {
        for (setting, values) in &self.sweep {
            let is_new = |(place, value): (usize, &Value)| !values[..place].contains(value);
            let holds = !values.is_empty() && values.iter().enumerate().all(is_new);
            let values = Value::from(values.clone());
            let rule = "hold at least one value, and none twice";
            require(holds, &format!("test.{setting}"), values, rule)?;
        }
        let assignments = self.sweep.iter().flat_map(|(setting, values)| {
            let values = values.iter();
            values.map(move |value| (setting.clone(), value.clone()))
        });
        let slice = |(setting, value): (String, Value)| {
            let task = TaskConfig::from_section(task.with(&setting, value.clone()));
            let of_sweep = |error| Error::usage(format!("test.{setting} = {value}: {error}"));
            Ok(SliceOfTask {
                task: task.map_err(of_sweep)?,
                setting,
                value,
            })
        };
        assignments.map(slice).collect()
    }
}

impl Goal {
    fn from_section(section: Section, test: &TestConfig) -> Result<Self, Error> {
        let goal: Goal = section.parse()?;
        goal.reach.validate("goal.reach")?;
        let is_tested = |(setting, value): (&String, &Value)| {
            let values = test.sweep.get(setting);
            values.is_some_and(|values| values.contains(value))
        };
        let at = Value::Table(goal.at.clone().into_iter().collect());
        let rule = "be one setting with one of the values that [test] has for it";
        require(
            goal.at.len() <= 1 && goal.at.iter().all(is_tested),
            "goal.at",
            at,
            rule,
        )?;
        Ok(goal)
    }
}

impl Curriculum {
    /// The task with each value.
    fn tasks(&self, task: &Section) -> Result<Vec<TaskConfig>, Error> {
        let with =
            |value: &Value| TaskConfig::from_section(task.with(&self.setting, value.clone()));
        let tasks = self.values.iter().map(with).collect::<Result<_, _>>();
        tasks.map_err(|error| Error::usage(format!("training.curriculum: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::KINDS;

    fn parse(text: &str) -> Result<Experiment, String> {
        let document = text.parse().expect("valid TOML");
        Experiment::from_document(document, &[]).map_err(|error| error.to_string())
    }

    const SMALLEST: &str = "task.kind = 'associative-retrieval'\nmodel.kind = 'lstm'\n\
                            optimizer.kind = 'adam'\n";

    #[test]
    fn an_experiment_written_out_reads_back_the_same() {
        for kind in KINDS.iter().map(|kind| kind.name()) {
            // A task that every kind fits, and the name that one of them needs.
            let name = if kind == "own" {
                "model.name = 'mine'"
            } else {
                ""
            };
            let text = SMALLEST.replace("lstm", kind) + name;
            let text = text.replace("associative-retrieval", "copy-memory");
            let experiment = parse(&text).expect("a valid experiment");
            assert_eq!(
                parse(&experiment.to_toml()).as_ref(),
                Ok(&experiment),
                "{kind}"
            );
        }
        let default = Experiment::from_document(Experiment::default_document(), &[]);
        assert!(default.is_ok(), "{default:?}");
    }

    #[test]
    fn errors_name_the_section_the_field_and_the_rule() {
        for (more, message) in [
            (
                "model.d_hiden = 3",
                "in [model]: unknown field `d_hiden`, expected",
            ),
            (
                "model.d_hidden = -3",
                "model.d_hidden is -3; it must be a whole number, not negative",
            ),
            (
                "task.pairs = 27",
                "task.pairs is 27; it must lie between 1 and 26",
            ),
            (
                "training.batch_size = 0",
                "training.batch_size is 0; it must be at least 1",
            ),
            (
                "optimizer.learning_rate = -1.0",
                "optimizer.learning_rate is -1; it must",
            ),
            (
                "trainig.steps = 3",
                "[trainig] is not a section of an experiment",
            ),
            (
                "training.curriculum = { setting = 'pears', values = [1], until = { error = 0.1 } }",
                "training.curriculum: in [task]: unknown field `pears`, expected",
            ),
            (
                "training.curriculum = { setting = 'pairs', values = [2, 0], until = { error = 0.1 } }",
                "training.curriculum: task.pairs is 0; it must lie between 1 and 26",
            ),
            (
                "training.curriculum = { setting = 'pairs', values = [], until = { error = 0.1 } }",
                "training.curriculum.values is empty; it must hold at least one value",
            ),
            (
                "training.curriculum = { setting = 'pairs', values = [2], until = { error = 2.0 } }",
                "training.curriculum.until.error is 2; it must lie in [0, 1]",
            ),
            (
                "test.pairs = [3, 40]",
                "test.pairs = 40: task.pairs is 40; it must lie between 1 and 26",
            ),
            (
                "test.pairs = [3, 4, 3]",
                "test.pairs is [3, 4, 3]; it must hold at least one value, and none twice",
            ),
            (
                "test.pairs = 3",
                "test.pairs is 3; it must be a list, such as [1, 2]",
            ),
            (
                "training.early_stop = false",
                "training.early_stop is false; it must be \"never\", { error = .. }, { loss = .. } or { patience = .. }",
            ),
            (
                "training.early_stop = { eror = 0.1 }",
                "training.early_stop is { eror = 0.1 }; it must be \"never\", { error = .. }",
            ),
            (
                "model.forget_bias = 'x'",
                "model.forget_bias is \"x\"; it must be a number",
            ),
            (
                "model.d_hidden = 1000000",
                "model.d_hidden is 1000000; it must be at most 65,536",
            ),
            (
                "optimizer.schedule = { linear = -1.0 }",
                "optimizer.schedule.linear is -1; it must lie in [0, 1]",
            ),
            (
                "training.evaluate_every = 150",
                "training.evaluate_every is 150; it must be a multiple",
            ),
        ] {
            let error = parse(&format!("{SMALLEST}{more}")).expect_err(more);
            assert!(error.contains(message), "{more}: {error}");
        }
        let unfit = parse(&SMALLEST.replace("lstm", "encoder-decoder")).expect_err("no source");
        assert!(unfit.contains("the task must turn a source into a target"));
        let copying = SMALLEST
            .replace("lstm", "encoder-decoder")
            .replace("associative-retrieval", "copy-memory");
        let moved = parse(&format!("{copying}test.steps = [50]")).expect_err("another source");
        assert!(
            moved.contains("test.steps = 50 changes where the source ends"),
            "{moved}"
        );
        let nameless = parse(&SMALLEST.replace("lstm", "own")).expect_err("no name");
        assert_eq!(nameless, "model.name is empty; it must be a name");
        let unknown = parse(&SMALLEST.replace("lstm", "lstn")).expect_err("no such kind");
        assert!(unknown.contains(
            "model.kind is \"lstn\"; it must be one of: fast-weights, delta-net, recurrent-delta-net, mlstm, rwkv7, rnn"
        ));
    }
}
