//! Traces from files: the columns of the openb trace, or a line of JSON for each node and task.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Trace, TraceTask};
use crate::error::{Error, Result};
use crate::registry::{Gpu, Node, Resources};
use crate::scheduler::{GpuRequirement, Requirements};

/// A node of cluster-trace-gpu-v2023.
#[derive(Debug, Deserialize)]
struct NodeRow {
    sn: String,
    cpu_milli: u64,
    memory_mib: u64,
    #[serde(default)]
    gpu: u32,
    #[serde(default)]
    model: String,
}

/// A task of cluster-trace-gpu-v2023.
#[derive(Debug, Deserialize)]
struct TaskRow {
    name: String,
    cpu_milli: u32,
    memory_mib: u64,
    num_gpu: u32,
    #[serde(default)]
    gpu_milli: Option<u32>,
    #[serde(default)]
    gpu_spec: Option<String>,
    #[serde(default)]
    qos: Option<String>,
    #[serde(default)]
    creation_time: Option<f64>,
    #[serde(default)]
    deletion_time: Option<f64>,
}

impl Trace {
    /// Reads a trace. Files that begin with `{` have a JSON object in each line (a
    /// [`Node`] as it registers, a [`TraceTask`]); others are CSV with the
    /// columns of openb: `sn,cpu_milli,memory_mib,gpu,model` and `name,cpu_milli,memory_mib,
    /// num_gpu,gpu_milli,gpu_spec,qos,…,creation_time,deletion_time`, where `gpu_spec` has the
    /// models that will do, joined by `|`.
    ///
    /// # Errors
    /// InvalidInput with the file (`nodes`, `tasks`), the line and what is wrong there.
    pub fn read(nodes: impl Read, tasks: impl Read) -> Result<Self> {
        let nodes = rows("nodes", nodes, NodeRow::node)?;
        let tasks = rows("tasks", tasks, TaskRow::task)?;
        nodes.iter().try_for_each(Node::check)?;
        tasks.iter().try_for_each(|task: &TraceTask| task.requirements.check())?;
        Ok(Self { nodes, tasks, synthetic: false })
    }
}

fn rows<R: DeserializeOwned, T: DeserializeOwned>(
    file: &'static str,
    source: impl Read,
    made: impl Fn(R) -> Result<T>,
) -> Result<Vec<T>> {
    let mut source = BufReader::new(source);
    let unreadable = |error: std::io::Error| Error::invalid(file, error);
    let begin = source.fill_buf().map_err(unreadable)?;
    if begin.first() == Some(&b'{') {
        let mut found = Vec::new();
        for (number, line) in (1..).zip(source.lines()) {
            let line = line.map_err(unreadable)?;
            let value = serde_json::from_str(&line)
                .map_err(|error| Error::invalid(file, format!("line {number}: {error}")))?;
            found.push(value);
        }
        return Ok(found);
    }
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(source);
    reader.deserialize().map(|row| made(row.map_err(|e| Error::invalid(file, e))?)).collect()
}

impl NodeRow {
    fn node(self) -> Result<Node> {
        let id = self.sn.parse().map_err(|error| Error::invalid("nodes", format!("{error}")))?;
        let gpu = || Gpu { model: self.model.clone(), memory_mib: 0 };
        let resources = Resources {
            cpu_cores: u32::try_from(self.cpu_milli / 1_000).unwrap_or(u32::MAX),
            memory_mib: self.memory_mib,
            gpus: (0..self.gpu.min(65)).map(|_| gpu()).collect(),
            ..Resources::default()
        };
        // The trace knows no limit of tasks per node.
        Ok(Node { resources, slots: 65_536, ..Node::new(id) })
    }
}

impl TaskRow {
    fn task(self) -> Result<TraceTask> {
        let models = self.gpu_spec.unwrap_or_default();
        let models = models.split('|').filter(|model| !model.is_empty());
        let milli = match (self.num_gpu, self.gpu_milli) {
            (1, Some(milli)) if milli > 0 => milli,
            _ => 1_000,
        };
        let gpus = GpuRequirement {
            count: self.num_gpu,
            milli,
            memory_mib: 0,
            models: models.map(str::to_owned).collect(),
        };
        let gpus = if gpus.count == 0 { GpuRequirement::default() } else { gpus };
        let seconds = |time: Option<f64>| {
            Duration::try_from_secs_f64(time.unwrap_or_default().max(0.0)).unwrap_or_default()
        };
        let arrives = seconds(self.creation_time);
        Ok(TraceTask {
            name: self.name,
            payer: self.qos.unwrap_or_default(),
            arrives,
            runs: seconds(self.deletion_time).saturating_sub(arrives),
            requirements: Requirements {
                cpu_milli: self.cpu_milli,
                memory_mib: self.memory_mib,
                gpus,
                ..Requirements::default()
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "sn,cpu_milli,memory_mib,gpu,model\na,64000,262144,2,P100\n";
    const TASKS: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,\
        creation_time,deletion_time,scheduled_time\nt,12000,16384,1,460,V100M16|V100M32,LS,Running,\
        10,25,11\nu,1,1,0,0,,BE,Running,0,5,\n";

    #[test]
    fn openb_columns_become_nodes_and_tasks() {
        let trace = Trace::read(NODES.as_bytes(), TASKS.as_bytes()).unwrap();
        assert_eq!((trace.nodes.len(), trace.gpu_milli()), (1, 2_000));
        let task = &trace.tasks[0];
        assert_eq!(task.requirements.gpus.models, ["V100M16", "V100M32"]);
        assert_eq!(task.requirements.gpus.milli, 460);
        assert_eq!((task.arrives.as_secs(), task.runs.as_secs()), (10, 15));
        assert_eq!(trace.tasks[1].requirements.gpus, GpuRequirement::default());
    }

    #[test]
    fn a_line_of_json_for_each_does_as_well() {
        let trace = Trace::read(NODES.as_bytes(), TASKS.as_bytes()).unwrap();
        let line = |text: serde_json::Result<String>| text.unwrap() + "\n";
        let nodes: String = trace.nodes.iter().map(|n| line(serde_json::to_string(n))).collect();
        let tasks: String = trace.tasks.iter().map(|t| line(serde_json::to_string(t))).collect();
        assert_eq!(Trace::read(nodes.as_bytes(), tasks.as_bytes()).unwrap(), trace);
    }

    #[test]
    fn what_cannot_be_read_names_the_file_and_the_line() {
        let error = Trace::read("sn,cpu_milli\na,b\n".as_bytes(), TASKS.as_bytes()).unwrap_err();
        assert_eq!(error.field(), Some("nodes"));
        let error = Trace::read(NODES.as_bytes(), "{\"name\":1}".as_bytes()).unwrap_err();
        assert_eq!(error.field(), Some("tasks"));
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}
