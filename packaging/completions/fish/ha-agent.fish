# Made by scripts/make_completions.py from the declarations of ha-agent.

function __ha_agent_is_verb
    switch $argv[1]
        case 'ha-agent status' \
            'ha-agent maintenance' \
            'ha-agent cluster' \
            'ha-agent cluster shutdown' \
            'ha-agent cluster resume' \
            'ha-agent vm' \
            'ha-agent vm start' \
            'ha-agent vm resume' \
            'ha-agent vm stop' \
            'ha-agent console-password' \
            'ha-agent migration' \
            'ha-agent storage' \
            'ha-agent storage connect' \
            'ha-agent storage disconnect' \
            'ha-agent storage targets' \
            'ha-agent host' \
            'ha-agent host list' \
            'ha-agent host remove' \
            'ha-agent deploy' \
            'ha-agent join' \
            'ha-agent leave' \
            'ha-agent upgrade' \
            'ha-agent downgrade' \
            'ha-agent lockspace' \
            'ha-agent lockspace check' \
            'ha-agent lockspace repair' \
            'ha-agent refresh' \
            'ha-agent ovf' \
            'ha-agent ovf explain' \
            'ha-agent ovf translate' \
            'ha-agent ovf history' \
            'ha-agent ovf diff' \
            'ha-agent ovf rollback' \
            'ha-agent ovf export' \
            'ha-agent ovf import' \
            'ha-agent ovf accept' \
            'ha-agent store' \
            'ha-agent store list' \
            'ha-agent store verify' \
            'ha-agent store get' \
            'ha-agent store put' \
            'ha-agent store create' \
            'ha-agent push' \
            'ha-agent engine' \
            'ha-agent engine import' \
            'ha-agent engine status' \
            'ha-agent engine check' \
            'ha-agent shared-config' \
            'ha-agent shared-config list' \
            'ha-agent shared-config get' \
            'ha-agent shared-config put' \
            'ha-agent shared-config keys' \
            'ha-agent shared-config get-key' \
            'ha-agent shared-config set-key' \
            'ha-agent simulate' \
            'ha-agent explain' \
            'ha-agent events' \
            'ha-agent replay' \
            'ha-agent incidents' \
            'ha-agent notify' \
            'ha-agent notify test' \
            'ha-agent can-do' \
            'ha-agent lease' \
            'ha-agent version' \
            'ha-agent config' \
            'ha-agent run'
            return 0
    end
    return 1
end

function __ha_agent_takes_value
    switch $argv[1]
        case 'ha-agent --config' \
            'ha-agent status --timeout' \
            'ha-agent maintenance --timeout' \
            'ha-agent maintenance --for' \
            'ha-agent maintenance --reason' \
            'ha-agent maintenance --within' \
            'ha-agent cluster shutdown --timeout' \
            'ha-agent cluster shutdown --reason' \
            'ha-agent cluster shutdown --within' \
            'ha-agent cluster resume --timeout' \
            'ha-agent cluster resume --reason' \
            'ha-agent cluster resume --within' \
            'ha-agent vm start --timeout' \
            'ha-agent vm resume --timeout' \
            'ha-agent vm stop --timeout' \
            'ha-agent console-password --timeout' \
            'ha-agent console-password --password-file' \
            'ha-agent console-password --ttl' \
            'ha-agent console-password --on-connected' \
            'ha-agent migration --timeout' \
            'ha-agent storage connect --timeout' \
            'ha-agent storage disconnect --timeout' \
            'ha-agent storage targets --timeout' \
            'ha-agent host list --timeout' \
            'ha-agent host remove --timeout' \
            'ha-agent deploy --answers' \
            'ha-agent deploy --answers-out' \
            'ha-agent deploy --storage-type' \
            'ha-agent deploy --storage-connection' \
            'ha-agent deploy --engine-fqdn' \
            'ha-agent deploy --disk-image-file' \
            'ha-agent deploy --host-id' \
            'ha-agent join --path' \
            'ha-agent join --from' \
            'ha-agent join --answers' \
            'ha-agent join --domain' \
            'ha-agent join --host-id' \
            'ha-agent upgrade --accept' \
            'ha-agent downgrade --force' \
            'ha-agent downgrade --keep' \
            'ha-agent lockspace check --timeout' \
            'ha-agent lockspace repair --timeout' \
            'ha-agent refresh --timeout' \
            'ha-agent ovf explain --volume' \
            'ha-agent ovf explain --vm' \
            'ha-agent ovf explain --timeout' \
            'ha-agent ovf explain --only' \
            'ha-agent ovf translate --volume' \
            'ha-agent ovf translate --vm' \
            'ha-agent ovf translate --timeout' \
            'ha-agent ovf translate --to' \
            'ha-agent ovf translate --domain' \
            'ha-agent ovf history --timeout' \
            'ha-agent ovf diff --timeout' \
            'ha-agent ovf rollback --timeout' \
            'ha-agent ovf export --timeout' \
            'ha-agent ovf import --timeout' \
            'ha-agent ovf accept --timeout' \
            'ha-agent store list --timeout' \
            'ha-agent store verify --timeout' \
            'ha-agent store get --timeout' \
            'ha-agent store get --version' \
            'ha-agent store put --timeout' \
            'ha-agent store create --timeout' \
            'ha-agent push --host' \
            'ha-agent push --port' \
            'ha-agent push --cert' \
            'ha-agent push --key' \
            'ha-agent push --ca' \
            'ha-agent push --server-name' \
            'ha-agent push --connect-timeout' \
            'ha-agent push --timeout' \
            'ha-agent engine import --url' \
            'ha-agent engine import --user' \
            'ha-agent engine import --password-file' \
            'ha-agent engine import --ca-file' \
            'ha-agent engine import --timeout' \
            'ha-agent engine import --datacenter' \
            'ha-agent engine import --cluster' \
            'ha-agent engine import --host' \
            'ha-agent engine import --update-interval' \
            'ha-agent engine status --url' \
            'ha-agent engine status --user' \
            'ha-agent engine status --password-file' \
            'ha-agent engine status --ca-file' \
            'ha-agent engine status --timeout' \
            'ha-agent engine check --url' \
            'ha-agent engine check --user' \
            'ha-agent engine check --password-file' \
            'ha-agent engine check --ca-file' \
            'ha-agent engine check --timeout' \
            'ha-agent shared-config list --timeout' \
            'ha-agent shared-config get --timeout' \
            'ha-agent shared-config put --timeout' \
            'ha-agent shared-config keys --timeout' \
            'ha-agent shared-config keys --store' \
            'ha-agent shared-config get-key --timeout' \
            'ha-agent shared-config get-key --store' \
            'ha-agent shared-config set-key --timeout' \
            'ha-agent shared-config set-key --store' \
            'ha-agent simulate --seed' \
            'ha-agent simulate --seeds' \
            'ha-agent simulate --hosts' \
            'ha-agent simulate --hours' \
            'ha-agent simulate --old' \
            'ha-agent simulate --lease' \
            'ha-agent simulate --faults' \
            'ha-agent simulate --jobs' \
            'ha-agent explain --timeout' \
            'ha-agent events --timeout' \
            'ha-agent events --since' \
            'ha-agent replay --policy' \
            'ha-agent incidents --timeout' \
            'ha-agent notify test --timeout' \
            'ha-agent can-do --timeout' \
            'ha-agent lease --timeout' \
            'ha-agent version --timeout' \
            'ha-agent config --timeout'
            return 0
    end
    return 1
end

# The verb that the words before the cursor lead to, and how many operands it has by now.
function __ha_agent_path
    set -l path ha-agent
    set -l operands 0
    set -l takes no
    for word in (commandline -opc)[2..-1]
        if test $takes = yes
            set takes no
        else if __ha_agent_is_verb "$path $word"
            set path "$path $word"
        else if string match -q -- '-*' $word
            __ha_agent_takes_value "$path $word"; and set takes yes
        else
            set operands (math $operands + 1)
        end
    end
    echo $path
    echo $operands
end

function __ha_agent_at
    set -l path (__ha_agent_path)
    test "$path[1]" = "$argv[1]"; or return
    test (count $argv) = 1; or test "$path[2]" $argv[2] $argv[3]
end

complete -c ha-agent -f

complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a status -d 'where the engine VM is, and how every host does'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a maintenance -d 'set or clear maintenance'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a cluster -d 'shut the whole cluster down, and start it again'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a vm -d 'start, resume or stop the engine VM by hand, under global maintenance'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a console-password -d 'let whoever knows a password connect to the engine VM\'s console on this host'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a migration -d 'how far the engine VM\'s migration away from this host is'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a storage -d 'how this host\'s VDSM is connected to the storage domain'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a host -d 'list the hosts, and remove one that is gone'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a deploy -d 'set up the first host of a hosted engine'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a join -d 'make this host one more of a cluster, from its shared storage alone'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a leave -d 'take this host out of its cluster'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a upgrade -d 'make a host of the predecessor, or of oVirt 3.5, one of ours'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a downgrade -d 'put back what upgrade has changed here'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a lockspace -d 'who holds which lease on storage, and its repair'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a refresh -d 'have all hosts read the engine VM\'s definition from the store now'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a ovf -d 'look into the engine VM\'s definition, and its history on this host'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a store -d 'the OVF_STORE volumes on the storage domain'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a push -d 'tell hosts over TLS what the engine tells them'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a engine -d 'make the engine know the engine VM and its storage domain'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a shared-config -d 'the files in the hosted engine\'s configuration volume'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a simulate -d 'run this program\'s own code in a simulated cluster with faults'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a explain -d 'why things are as they are, in plain words'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a events -d 'what happened, one line an event'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a replay -d 'step recorded decisions through this version, and show the first difference; exit code 1: there is one, 2: the records can\'t be read'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a incidents -d 'what is wrong now, and what was lately'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a notify -d 'the notifications of incidents'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a can-do -d 'ask whether an action would hurt the hosted engine; exit code 1: it would'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a lease -d 'make the cluster\'s lock file, once'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a version -d 'what runs here, and what it offers'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a config -d 'the configuration in use'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -a run -d 'run the agent in the foreground; systemd does this'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -l version -d 'print the version, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent"' -l config -r -F -d 'configuration file (default /etc/ha-agent/ha-agent.conf)'
complete -c ha-agent -n '__ha_agent_at "ha-agent status"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent status"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent status"' -l json -d 'the predecessor\'s JSON object'
complete -c ha-agent -n '__ha_agent_at "ha-agent status"' -l watch -d 'again after each change, until interrupted'
complete -c ha-agent -n '__ha_agent_at "ha-agent maintenance"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent maintenance"' -l timeout -x -d 'give up after this (default 45)'
complete -c ha-agent -n '__ha_agent_at "ha-agent maintenance"' -l off -d 'clear this one, leave the other'
complete -c ha-agent -n '__ha_agent_at "ha-agent maintenance"' -l for -x -d 'it ends by itself after 90s, 30m, 2h, 1d or 1h30m'
complete -c ha-agent -n '__ha_agent_at "ha-agent maintenance"' -l reason -x -d 'what for; all hosts show it'
complete -c ha-agent -n '__ha_agent_at "ha-agent maintenance"' -l wait -l no-wait -d 'tell how it goes until this host is in local maintenance, and the engine VM elsewhere (the default is --no-wait)'
complete -c ha-agent -n '__ha_agent_at "ha-agent maintenance"' -l within -x -d 'give up waiting after this (default 900); what was ordered stays ordered'
complete -c ha-agent -n '__ha_agent_at "ha-agent maintenance" -eq 0' -a 'local global none'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster"' -a shutdown -d 'stop the engine VM, last of all VMs, and keep it stopped'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster"' -a resume -d 'start the engine VM again, on the best host'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster shutdown"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster shutdown"' -l timeout -x -d 'give up after this (default 45)'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster shutdown"' -l now -d 'do not wait for hosts and other VMs'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster shutdown"' -l yes -d 'do not ask'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster shutdown"' -l reason -x -d 'what for; all hosts show it'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster shutdown"' -l wait -l no-wait -d 'tell how it goes until hosts may be powered off (default)'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster shutdown"' -l within -x -d 'give up waiting after this (default 1800); what was ordered stays ordered'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster resume"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster resume"' -l timeout -x -d 'give up after this (default 45)'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster resume"' -l reason -x -d 'what for; all hosts show it'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster resume"' -l wait -l no-wait -d 'tell how it goes until the engine VM is up (default)'
complete -c ha-agent -n '__ha_agent_at "ha-agent cluster resume"' -l within -x -d 'give up waiting after this (default 600); what was ordered stays ordered'
complete -c ha-agent -n '__ha_agent_at "ha-agent vm"' -a start -d 'start the engine VM on this host'
complete -c ha-agent -n '__ha_agent_at "ha-agent vm"' -a resume -d 'let the paused VM run'
complete -c ha-agent -n '__ha_agent_at "ha-agent vm"' -a stop -d 'shut the engine VM down on this host'
complete -c ha-agent -n '__ha_agent_at "ha-agent vm"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent vm start"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent vm start"' -l timeout -x -d 'give up after this (default 225)'
complete -c ha-agent -n '__ha_agent_at "ha-agent vm start"' -l paused -d 'only so far that its console can be looked at'
complete -c ha-agent -n '__ha_agent_at "ha-agent vm resume"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent vm resume"' -l timeout -x -d 'give up after this (default 225)'
complete -c ha-agent -n '__ha_agent_at "ha-agent vm stop"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent vm stop"' -l timeout -x -d 'give up after this (default 225)'
complete -c ha-agent -n '__ha_agent_at "ha-agent vm stop"' -l force -d 'end it at once, unsaved work is lost'
complete -c ha-agent -n '__ha_agent_at "ha-agent console-password"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent console-password"' -l timeout -x -d 'give up after this (default 50)'
complete -c ha-agent -n '__ha_agent_at "ha-agent console-password"' -l password-file -r -F -d 'its first line; - is standard input'
complete -c ha-agent -n '__ha_agent_at "ha-agent console-password"' -l ttl -x -d 'how long it counts (default 120); who is connected then stays'
complete -c ha-agent -n '__ha_agent_at "ha-agent console-password"' -l spice -d 'for a SPICE console, not VNC'
complete -c ha-agent -n '__ha_agent_at "ha-agent console-password"' -l on-connected -x -a 'keep disconnect fail' -d 'with --spice: what becomes of who is connected (default keep)'
complete -c ha-agent -n '__ha_agent_at "ha-agent migration"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent migration"' -l timeout -x -d 'give up after this (default 50)'
complete -c ha-agent -n '__ha_agent_at "ha-agent migration"' -l json -d 'as a JSON object'
complete -c ha-agent -n '__ha_agent_at "ha-agent storage"' -a connect -d 'connect the storage domain now'
complete -c ha-agent -n '__ha_agent_at "ha-agent storage"' -a disconnect -d 'disconnect it: only in local maintenance, with no VM here'
complete -c ha-agent -n '__ha_agent_at "ha-agent storage"' -a targets -d 'which iSCSI targets the configured portals offer'
complete -c ha-agent -n '__ha_agent_at "ha-agent storage"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent storage connect"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent storage connect"' -l timeout -x -d 'give up after this (default 610)'
complete -c ha-agent -n '__ha_agent_at "ha-agent storage disconnect"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent storage disconnect"' -l timeout -x -d 'give up after this (default 610)'
complete -c ha-agent -n '__ha_agent_at "ha-agent storage targets"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent storage targets"' -l timeout -x -d 'give up after this (default 610)'
complete -c ha-agent -n '__ha_agent_at "ha-agent host"' -a list -d 'list the hosts'
complete -c ha-agent -n '__ha_agent_at "ha-agent host"' -a remove -d 'forget a host that is gone'
complete -c ha-agent -n '__ha_agent_at "ha-agent host"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent host list"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent host list"' -l timeout -x -d 'give up after this (default 60)'
complete -c ha-agent -n '__ha_agent_at "ha-agent host list"' -l json -d 'print one JSON object'
complete -c ha-agent -n '__ha_agent_at "ha-agent host remove"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent host remove"' -l timeout -x -d 'give up after this (default 60)'
complete -c ha-agent -n '__ha_agent_at "ha-agent deploy"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent deploy"' -l answers -r -F -d 'see answers-example.conf'
complete -c ha-agent -n '__ha_agent_at "ha-agent deploy"' -l answers-out -r -F -d 'write the answers that were given, without passwords, and do nothing else'
complete -c ha-agent -n '__ha_agent_at "ha-agent deploy"' -l storage-type -x -d 'storage_type'
complete -c ha-agent -n '__ha_agent_at "ha-agent deploy"' -l storage-connection -x -d 'storage_connection'
complete -c ha-agent -n '__ha_agent_at "ha-agent deploy"' -l engine-fqdn -x -d 'engine_fqdn'
complete -c ha-agent -n '__ha_agent_at "ha-agent deploy"' -l disk-image-file -x -d 'disk_image_file'
complete -c ha-agent -n '__ha_agent_at "ha-agent deploy"' -l host-id -x -d 'host_id'
complete -c ha-agent -n '__ha_agent_at "ha-agent deploy"' -l dry-run -d 'show what would be done, and change nothing'
complete -c ha-agent -n '__ha_agent_at "ha-agent deploy"' -l no-start -d 'neither enable nor start the daemons'
complete -c ha-agent -n '__ha_agent_at "ha-agent join"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent join"' -l path -x -a '(__fish_complete_directories)' -d 'the storage domain, mounted by the system'
complete -c ha-agent -n '__ha_agent_at "ha-agent join"' -l from -r -F -d 'a copy of another host\'s hosted-engine.conf: it says where the storage is'
complete -c ha-agent -n '__ha_agent_at "ha-agent join"' -l answers -r -F -d 'answers as deploy takes them, [storage]'
complete -c ha-agent -n '__ha_agent_at "ha-agent join"' -l domain -x -d 'which storage domain, where there are several'
complete -c ha-agent -n '__ha_agent_at "ha-agent join"' -l host-id -x -d 'this one (the engine\'s vds_spm_id)'
complete -c ha-agent -n '__ha_agent_at "ha-agent join"' -l dry-run -d 'only look, and print the plan'
complete -c ha-agent -n '__ha_agent_at "ha-agent join"' -l no-start -d 'neither enable nor start the daemons'
complete -c ha-agent -n '__ha_agent_at "ha-agent leave"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent leave"' -l last -d 'although no other host of the cluster is alive'
complete -c ha-agent -n '__ha_agent_at "ha-agent leave"' -l dry-run -d 'only look, and print the plan'
complete -c ha-agent -n '__ha_agent_at "ha-agent leave"' -l no-units -d 'neither stop nor disable the daemons'
complete -c ha-agent -n '__ha_agent_at "ha-agent upgrade"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent upgrade"' -l accept -x -d 'take the engine VM\'s definition although the guard refuses it for this'
complete -c ha-agent -n '__ha_agent_at "ha-agent upgrade"' -l dry-run -d 'only look, and print the plan'
complete -c ha-agent -n '__ha_agent_at "ha-agent downgrade"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent downgrade"' -l force -r -F -d 'put this file back although somebody has changed it since; may be repeated'
complete -c ha-agent -n '__ha_agent_at "ha-agent downgrade"' -l keep -r -F -d 'leave this file as it is; may be repeated'
complete -c ha-agent -n '__ha_agent_at "ha-agent downgrade"' -l dry-run -d 'only look, and print the plan'
complete -c ha-agent -n '__ha_agent_at "ha-agent lockspace"' -a check -d 'tell who holds what (reads only)'
complete -c ha-agent -n '__ha_agent_at "ha-agent lockspace"' -a repair -d 'make anew what can\'t be used, once nobody is proved to use it'
complete -c ha-agent -n '__ha_agent_at "ha-agent lockspace"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent lockspace check"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent lockspace check"' -l timeout -x -d 'give up after this (default 60)'
complete -c ha-agent -n '__ha_agent_at "ha-agent lockspace check"' -l json -d 'print one JSON object'
complete -c ha-agent -n '__ha_agent_at "ha-agent lockspace repair"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent lockspace repair"' -l timeout -x -d 'give up after this (default 60)'
complete -c ha-agent -n '__ha_agent_at "ha-agent lockspace repair"' -l dry-run -d 'only say what would be done'
complete -c ha-agent -n '__ha_agent_at "ha-agent refresh"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent refresh"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf"' -a explain -d 'every element of an OVF: used for what, or why not'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf"' -a translate -d 'what VDSM is given for an OVF, and other forms'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf"' -a history -d 'the versions that this host has accepted'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf"' -a diff -d 'what changed between two definitions, by meaning'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf"' -a rollback -d 'put an earlier version into the store again'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf"' -a export -d 'write this host\'s history to a backup file'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf"' -a import -d 'add a backup\'s versions to this host\'s history'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf"' -a accept -d 'use a definition that the guard holds back, on this host'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf explain"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf explain"' -l volume -r -F -d 'an OVF_STORE volume, or a copy of one'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf explain"' -l store -d 'what the broker has in use now'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf explain"' -l vm -x -d 'with --volume: of this VM; without, of the one that the configuration names'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf explain"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf explain"' -l only -x -a 'used ignored unknown' -d 'no others'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf explain"' -l json -d 'a list of objects'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf explain" -eq 0' -F
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf translate"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf translate"' -l volume -r -F -d 'an OVF_STORE volume, or a copy of one'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf translate"' -l store -d 'what the broker has in use now'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf translate"' -l vm -x -d 'with --volume: of this VM; without, of the one that the configuration names'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf translate"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf translate"' -l to -x -a 'xml json vmconf ovf' -d 'the form wanted'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf translate"' -l domain -x -d 'storage domain, where no disk tells'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf translate"' -l rebuild -d 'with --to ovf: make the EngineXml anew from the OVF\'s own fields, after an edit'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf translate" -eq 0' -F
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf history"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf history"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf history"' -l json -d 'a list of objects'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf diff"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf diff"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf diff" -eq 0' -a 'current' -F
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf diff" -eq 1' -a 'current' -F
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf rollback"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf rollback"' -l timeout -x -d 'give up after this (default 480)'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf rollback"' -l force -d 'insist, where the guard lets a person insist'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf export"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf export"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf export" -eq 0' -F
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf import"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf import"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf import" -eq 0' -F
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf accept"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf accept"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent ovf accept"' -l force -d 'insist, where the guard lets a person insist'
complete -c ha-agent -n '__ha_agent_at "ha-agent store"' -a list -d 'the copies, and which is read'
complete -c ha-agent -n '__ha_agent_at "ha-agent store"' -a verify -d 'read every copy whole and check it; exit code 1 when one is not right'
complete -c ha-agent -n '__ha_agent_at "ha-agent store"' -a get -d 'write the OVF that is in use to stdout'
complete -c ha-agent -n '__ha_agent_at "ha-agent store"' -a put -d 'check an OVF and store it in both copies, changing that one member'
complete -c ha-agent -n '__ha_agent_at "ha-agent store"' -a create -d 'make the OVF_STORE volumes that are missing'
complete -c ha-agent -n '__ha_agent_at "ha-agent store"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent store list"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent store list"' -l timeout -x -d 'give up after this (default 60)'
complete -c ha-agent -n '__ha_agent_at "ha-agent store list"' -l json -d 'a list of objects'
complete -c ha-agent -n '__ha_agent_at "ha-agent store verify"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent store verify"' -l timeout -x -d 'give up after this (default 480)'
complete -c ha-agent -n '__ha_agent_at "ha-agent store verify"' -l json -d 'a list of objects'
complete -c ha-agent -n '__ha_agent_at "ha-agent store get"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent store get"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent store get"' -l version -x -d 'that version of this host\'s history'
complete -c ha-agent -n '__ha_agent_at "ha-agent store put"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent store put"' -l timeout -x -d 'give up after this (default 480)'
complete -c ha-agent -n '__ha_agent_at "ha-agent store put"' -l force -d 'insist, where the guard lets a person insist'
complete -c ha-agent -n '__ha_agent_at "ha-agent store put" -eq 0' -F
complete -c ha-agent -n '__ha_agent_at "ha-agent store create"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent store create"' -l timeout -x -d 'give up after this (default 480)'
complete -c ha-agent -n '__ha_agent_at "ha-agent push"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent push"' -l host -x -d 'whom to ask; give it again for the next one, in case this one does not answer'
complete -c ha-agent -n '__ha_agent_at "ha-agent push"' -l port -x -d 'where none is given (54324)'
complete -c ha-agent -n '__ha_agent_at "ha-agent push"' -l cert -r -F -d 'our certificate, which the hosts\' [push] allowed_subjects names'
complete -c ha-agent -n '__ha_agent_at "ha-agent push"' -l key -r -F -d 'its private key'
complete -c ha-agent -n '__ha_agent_at "ha-agent push"' -l ca -r -F -d 'the engine\'s CA'
complete -c ha-agent -n '__ha_agent_at "ha-agent push"' -l server-name -x -d 'what the host\'s certificate names, if not HOST'
complete -c ha-agent -n '__ha_agent_at "ha-agent push"' -l connect-timeout -x -d 'go to the next host after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent push"' -l timeout -x -d 'give up after this (default 90)'
complete -c ha-agent -n '__ha_agent_at "ha-agent push"' -l json -d 'the answer as JSON, with its host'
complete -c ha-agent -n '__ha_agent_at "ha-agent push" -eq 0' -a 'refresh put can-do status version'
complete -c ha-agent -n '__ha_agent_at "ha-agent push" -ge 1' -F
complete -c ha-agent -n '__ha_agent_at "ha-agent engine"' -a import -d 'import the storage domain and register the engine VM; may be run again at any time'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine"' -a status -d 'what of the import is done; exit code 1: not all of it'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine"' -a check -d 'the hosts\' high availability as the engine sees it'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine import"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine import"' -l url -x -d 'https://ENGINE/ovirt-engine/api'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine import"' -l user -x -d 'such as admin@internal'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine import"' -l password-file -r -F -d 'its first line'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine import"' -l ca-file -r -F -d 'PEM of the CA of the engine\'s web page'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine import"' -l insecure -d 'trust any certificate: for laboratories'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine import"' -l json -d 'the result as one JSON object'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine import"' -l timeout -x -d 'give up after this (default 1800)'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine import"' -l datacenter -x -d 'if several would do'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine import"' -l cluster -x -d 'to register the VM in'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine import"' -l host -x -d 'to import through'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine import"' -l update-interval -x -d 'how often the engine is to write the OVF_STORE (default 5); it is only told how to set that, the API can\'t'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine import"' -l dry-run -d 'look, and print the plan'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine status"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine status"' -l url -x -d 'https://ENGINE/ovirt-engine/api'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine status"' -l user -x -d 'such as admin@internal'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine status"' -l password-file -r -F -d 'its first line'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine status"' -l ca-file -r -F -d 'PEM of the CA of the engine\'s web page'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine status"' -l insecure -d 'trust any certificate: for laboratories'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine status"' -l json -d 'the result as one JSON object'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine status"' -l timeout -x -d 'give up after this (default 60)'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine check"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine check"' -l url -x -d 'https://ENGINE/ovirt-engine/api'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine check"' -l user -x -d 'such as admin@internal'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine check"' -l password-file -r -F -d 'its first line'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine check"' -l ca-file -r -F -d 'PEM of the CA of the engine\'s web page'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine check"' -l insecure -d 'trust any certificate: for laboratories'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine check"' -l json -d 'the result as one JSON object'
complete -c ha-agent -n '__ha_agent_at "ha-agent engine check"' -l timeout -x -d 'give up after this (default 60)'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config"' -a list -d 'names and sizes'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config"' -a get -d 'write a file to stdout'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config"' -a put -d 'replace a file, on storage, at once'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config"' -a keys -d 'names of the keys in each store'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config"' -a get-key -d 'print a key\'s value'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config"' -a set-key -d 'set a key, and leave all others'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config list"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config list"' -l timeout -x -d 'give up after this (default 60)'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config get"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config get"' -l timeout -x -d 'give up after this (default 60)'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config put"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config put"' -l timeout -x -d 'give up after this (default 60)'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config put" -eq 1' -F
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config keys"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config keys"' -l timeout -x -d 'give up after this (default 60)'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config keys"' -l store -x -a 'he_local he_shared ha broker' -d 'default: the one that has the key'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config get-key"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config get-key"' -l timeout -x -d 'give up after this (default 60)'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config get-key"' -l store -x -a 'he_local he_shared ha broker' -d 'default: the one that has the key'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config set-key"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config set-key"' -l timeout -x -d 'give up after this (default 60)'
complete -c ha-agent -n '__ha_agent_at "ha-agent shared-config set-key"' -l store -x -a 'he_local he_shared ha broker' -d 'default: the one that has the key'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -l list -d 'the scenarios that come with this'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -l seed -x -d 'run what this seed draws'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -l seeds -x -d 'run all of these seeds'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -l hosts -x -d 'default: drawn'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -l hours -x -d 'default: 1'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -l old -x -d 'so many of the predecessor\'s'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -l lease -x -a 'lockfile sanlock' -d 'default: lockfile'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -l hostile-vdsm -d 'draw a VDSM that misbehaves, too'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -l quiet -d 'draw no faults'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -l faults -r -F -d 'these in place of drawn ones'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -l jobs -x -d 'processes; default: all cores'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -l no-shrink -d 'show a failing run as it is'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -l log -d 'print the whole log'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate"' -l json -d 'the outcome as one JSON object'
complete -c ha-agent -n '__ha_agent_at "ha-agent simulate" -eq 0' -a 'clock-drift clock-drift-failover clock-fast-observer clock-fast-observer-storage-lost clock-jump-back clock-jump-forward clock-jump-maintenance clock-jump-retries clock-slow-owner-storage-lost clock-suspend-all clock-suspend-brief clock-suspend-other clock-suspend-owner cold-all-at-once cold-definition-late cold-no-network cold-old-lease cold-one-host cold-others-dead cold-power-cut cold-staggered cold-storage-late cold-storage-late-one cold-vdsm-late cold-vm-already-there crash-agent crash-agent-everywhere crash-agent-hangs crash-agent-long crash-agent-other-host crash-agent-while-starting crash-all-but-owner crash-broker crash-broker-everywhere crash-broker-everywhere-long crash-broker-hangs crash-broker-hangs-briefly crash-broker-long crash-broker-stopped crash-daemons-stopped crash-failures-forgiven crash-guard crash-guard-and-broker crash-guard-storage-lost crash-guard-then-broker crash-guest crash-guest-again-and-again crash-guest-booting crash-guest-poweroff crash-host crash-host-back-at-once crash-host-before-start crash-host-comes-back crash-host-vm-lease-lingers crash-host-vm-lease-lingers-briefly crash-host-vm-lease-lingers-cut-off crash-killed-at-a-step crash-loop-everywhere crash-loop-last-host crash-loop-moves crash-loop-only-host crash-one-after-another crash-other-host crash-start-refused crash-start-refused-briefly crash-start-refused-everywhere crash-successor crash-two-hosts crash-vdsm crash-vdsm-and-guest crash-vdsm-long defn-bad defn-bad-then-crash defn-bad-then-host-dies defn-bad-then-known-host-takes-over defn-bad-then-repaired defn-changed defn-changed-then-crash defn-changed-then-host-dies defn-gone defn-gone-decides defn-gone-everywhere defn-gone-then-crash elsewhere-then-dies hang-best-host hang-boot hang-boot-limit-configured hang-engine hang-engine-flaps hang-engine-recovers hang-grace-configured hang-guest hang-guest-only-host hang-guest-recovers-while-stopping hang-guest-stop-configured hang-slow-boot hang-then-host-dies hostile-all-in-turn hostile-flood-crash hostile-flood-idle hostile-flood-owner hostile-mute-and-crash hostile-mute-during-failover hostile-mute-everywhere hostile-mute-owner hostile-mute-standby-host-dies hostile-no-greeting-owner hostile-old-answers-crash hostile-overdue-in-a-start hostile-overdue-owner hostile-restarts-everywhere hostile-restarts-in-a-start hostile-restarts-now-and-then-crash hostile-restarts-now-and-then-owner hostile-restarts-owner hostile-restarts-standby-host-dies hostile-unheard-during-failover hostile-unheard-in-a-start hostile-unheard-owner maint-global-agent-dead maint-global-and-local maint-global-by-hand maint-global-cold maint-global-crash maint-global-durable maint-global-engine-bad maint-global-expires maint-global-host-dies maint-global-migration maint-global-no-storage maint-global-off-engine-bad maint-global-storage-lost maint-global-while-starting maint-global-while-stopping maint-local-agent-restart maint-local-agent-restart-in-it maint-local-all maint-local-all-crash maint-local-expires maint-local-failover maint-local-host-dies maint-local-migrate-away maint-local-off maint-local-off-while-moving maint-local-other maint-local-owner maint-local-owner-alone maint-local-owner-only-host maint-local-rolling maint-local-then-global migr-away migr-by-hand-elsewhere migr-chain migr-crash migr-events-late migr-events-lost migr-fails migr-long migr-owner-bad migr-quick-return migr-source-agent-dead migr-source-dies migr-source-dies-after migr-source-storage-lost migr-source-vdsm-silent migr-target-agent-dead migr-target-broker-dead migr-target-dies migr-target-dies-after migr-target-in-maintenance migr-target-storage-lost net-all net-all-cables net-failover net-other-host net-owner net-owner-brief net-owner-cable net-owner-cable-back net-owner-cable-brief net-owner-cable-global net-owner-cable-nobody-able net-owner-cable-others-fail net-owner-cable-then-dies net-test-never-answers net-two-hosts-cable old-agent-hangs old-agent-stopped-then-dies old-cold-start old-crash old-crash-loop old-downgrade-believed old-downgrade-host-with-engine old-global-maintenance old-global-maintenance-by-old old-hang old-local-maintenance old-local-maintenance-old old-move-back old-move-back-last old-move-forward-first old-move-forward-second old-network-lost old-one-of-three old-other-dies old-ours-dies old-owner old-owner-dies old-owner-host-joins old-owner-network-lost old-race-then-dies old-rolling-downgrade old-rolling-upgrade old-slow-heartbeat old-storage-lost old-upgrade-host-with-engine old-upgrade-owner-dies pair-agent-all pair-agent-broker pair-agent-host pair-agent-storage pair-agent-vdsm pair-all-host pair-broker-all pair-broker-host pair-broker-next-agent pair-broker-next-broker pair-broker-next-net pair-broker-next-storage pair-broker-next-vdsm pair-broker-storage pair-broker-vdsm pair-host-next-agent pair-host-next-broker pair-host-next-net pair-host-next-storage pair-host-next-vdsm pair-net-agent pair-net-all pair-net-broker pair-net-host pair-net-storage pair-net-vdsm pair-storage-all pair-storage-host pair-storage-next-agent pair-storage-next-broker pair-storage-next-net pair-storage-next-storage pair-storage-next-vdsm pair-vdsm-all pair-vdsm-host pair-vdsm-storage qe-cpu-load qe-gateway-change qe-global-maintenance-killed-vm qe-guest-kernel-panic qe-guest-shutdown qe-local-maintenance-score qe-network-lost-on-vm-host qe-power-loss-of-vm-host qe-same-status-from-all-hosts qe-second-start-other-host qe-second-start-same-host qe-stop-agent qe-stop-agent-and-broker qe-stop-broker qe-stop-ovirt-engine qe-stop-postgresql qe-storage-blocked-by-firewall sanlock-broker-gone sanlock-broker-killed sanlock-daemon-killed sanlock-guard-hangs sanlock-hand-over sanlock-holder-killed sanlock-owner-dies sanlock-storage-all sanlock-storage-owner sanlock-storage-owner-brief sanlock-two-takers score-all-penalties score-best-takes-over score-better-host-told score-bridge score-cpu-flaps score-cpu-load score-cpu-spike score-falls-together score-healthy-for-an-hour score-memory score-network-flaky score-one-bad-ping score-retries score-ties shutdown-agent-dead shutdown-cluster shutdown-engine-hangs shutdown-host-dead shutdown-old-host shutdown-owner-dies shutdown-power-resume shutdown-resume shutdown-taken-back shutdown-waits-for-vms storage-again-and-again storage-all storage-all-brief storage-all-eio storage-all-readonly storage-all-then-owner-dies storage-back-as-it-expires storage-flaky storage-guest-paused storage-guest-paused-for-good storage-lost-write storage-lost-write-maintenance storage-other-host storage-owner storage-owner-and-successor storage-owner-brief storage-owner-eio storage-owner-for-good storage-owner-paused storage-owner-readonly storage-slow storage-slow-failover storage-slow-observer storage-slow-owner storage-stale-failover storage-stale-observer storage-too-slow storage-torn storage-torn-failover twin-crash twin-of-dead twin-other-host twin-owner twin-owner-dies vdsm-deaf vdsm-late vdsm-other-host vdsm-silent vdsm-silent-brief vdsm-silent-engine-bad vdsm-silent-everywhere vdsm-slow vdsm-slow-crash vdsm-stale (__fish_complete_directories)'
complete -c ha-agent -n '__ha_agent_at "ha-agent explain"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent explain"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent explain"' -l json -d 'the same as values'
complete -c ha-agent -n '__ha_agent_at "ha-agent events"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent events"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent events"' -l follow -d 'go on with what happens now'
complete -c ha-agent -n '__ha_agent_at "ha-agent events"' -l since -x -d 'only the last 90s, 30m, 2h or 7d'
complete -c ha-agent -n '__ha_agent_at "ha-agent events"' -l all -d 'all that are kept, not the last 50'
complete -c ha-agent -n '__ha_agent_at "ha-agent events"' -l json -d 'one JSON object a line'
complete -c ha-agent -n '__ha_agent_at "ha-agent replay"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent replay"' -l all -d 'show every difference'
complete -c ha-agent -n '__ha_agent_at "ha-agent replay"' -l policy -x -a 'recorded current' -d 'current: what would today\'s configuration have decided?'
complete -c ha-agent -n '__ha_agent_at "ha-agent replay"' -l json -d 'the result as one JSON object'
complete -c ha-agent -n '__ha_agent_at "ha-agent replay" -eq 0' -F
complete -c ha-agent -n '__ha_agent_at "ha-agent incidents"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent incidents"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent incidents"' -l json -d 'the same as values'
complete -c ha-agent -n '__ha_agent_at "ha-agent notify"' -a test -d 'send a test on every channel that is configured on this host; exit code 1: one failed'
complete -c ha-agent -n '__ha_agent_at "ha-agent notify"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent notify test"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent notify test"' -l timeout -x -d 'give up after this (default 60)'
complete -c ha-agent -n '__ha_agent_at "ha-agent notify test"' -l json -d 'the result as one JSON object'
complete -c ha-agent -n '__ha_agent_at "ha-agent can-do"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent can-do"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent can-do"' -l json -d 'the answer as JSON'
complete -c ha-agent -n '__ha_agent_at "ha-agent can-do" -eq 0' -a 'disk.detach disk.move disk.remove host.maintenance host.remove ovf_store.remove storage_domain.detach storage_domain.maintenance storage_domain.remove vm.remove'
complete -c ha-agent -n '__ha_agent_at "ha-agent lease"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent lease"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent lease" -eq 0' -a 'init'
complete -c ha-agent -n '__ha_agent_at "ha-agent version"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent version"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent config"' -s h -l help -d 'show this help, and end'
complete -c ha-agent -n '__ha_agent_at "ha-agent config"' -l running -d 'as the broker has it, not as the files have it'
complete -c ha-agent -n '__ha_agent_at "ha-agent config"' -l predecessor -d 'every key of the predecessor\'s files, and what it is used for'
complete -c ha-agent -n '__ha_agent_at "ha-agent config"' -l timeout -x -d 'give up after this (default 10)'
complete -c ha-agent -n '__ha_agent_at "ha-agent config" -eq 0' -a 'show check'
complete -c ha-agent -n '__ha_agent_at "ha-agent run"' -s h -l help -d 'show this help, and end'
