# Made by scripts/make_completions.py from the declarations of hosted-engine.

function __hosted_engine_is_verb
    switch $argv[1]
        case 'hosted-engine --deploy' \
            'hosted-engine --vm-start' \
            'hosted-engine --vm-start-paused' \
            'hosted-engine --vm-shutdown' \
            'hosted-engine --vm-poweroff' \
            'hosted-engine --vm-status' \
            'hosted-engine --add-console-password' \
            'hosted-engine --console' \
            'hosted-engine --check-deployed' \
            'hosted-engine --check-liveliness' \
            'hosted-engine --connect-storage' \
            'hosted-engine --disconnect-storage' \
            'hosted-engine --set-maintenance' \
            'hosted-engine --set-shared-config' \
            'hosted-engine --get-shared-config' \
            'hosted-engine --reinitialize-lockspace' \
            'hosted-engine --clean-metadata' \
            'hosted-engine --clean_metadata' \
            'hosted-engine --help'
            return 0
    end
    return 1
end

function __hosted_engine_takes_value
    switch $argv[1]
        case 'hosted-engine --deploy --config-append' \
            'hosted-engine --deploy --generate-answer' \
            'hosted-engine --deploy --restore-from-file' \
            'hosted-engine --deploy --ansible-extra-vars' \
            'hosted-engine --vm-start --vm-conf' \
            'hosted-engine --vm-start --timeout' \
            'hosted-engine --vm-start-paused --timeout' \
            'hosted-engine --vm-shutdown --timeout' \
            'hosted-engine --vm-poweroff --timeout' \
            'hosted-engine --vm-status --timeout' \
            'hosted-engine --add-console-password --password' \
            'hosted-engine --add-console-password --timeout' \
            'hosted-engine --console --timeout' \
            'hosted-engine --check-liveliness --timeout' \
            'hosted-engine --connect-storage --timeout' \
            'hosted-engine --disconnect-storage --timeout' \
            'hosted-engine --set-maintenance --mode' \
            'hosted-engine --set-maintenance --timeout' \
            'hosted-engine --set-shared-config --type' \
            'hosted-engine --set-shared-config --timeout' \
            'hosted-engine --get-shared-config --type' \
            'hosted-engine --get-shared-config --timeout' \
            'hosted-engine --reinitialize-lockspace --timeout' \
            'hosted-engine --clean-metadata --host-id' \
            'hosted-engine --clean-metadata --timeout' \
            'hosted-engine --clean_metadata --host-id' \
            'hosted-engine --clean_metadata --timeout'
            return 0
    end
    return 1
end

# The verb that the words before the cursor lead to, and how many operands it has by now.
function __hosted_engine_path
    set -l path hosted-engine
    set -l operands 0
    set -l takes no
    for word in (commandline -opc)[2..-1]
        if test $takes = yes
            set takes no
        else if __hosted_engine_is_verb "$path $word"
            set path "$path $word"
        else if string match -q -- '-*' $word
            __hosted_engine_takes_value "$path $word"; and set takes yes
        else
            set operands (math $operands + 1)
        end
    end
    echo $path
    echo $operands
end

function __hosted_engine_at
    set -l path (__hosted_engine_path)
    test "$path[1]" = "$argv[1]"; or return
    test (count $argv) = 1; or test "$path[2]" $argv[2] $argv[3]
end

complete -c hosted-engine -f

complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l deploy -d 'run the deployment of the hosted engine'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l vm-start -d 'start the engine VM on this host'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l vm-start-paused -d 'start the engine VM on this host with qemu paused'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l vm-shutdown -d 'gracefully shut down the engine VM on this host'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l vm-poweroff -d 'forcefully power off the engine VM on this host'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l vm-status -d 'engine VM and hosts according to the HA agents'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l add-console-password -d 'create a temporary password for the VNC or SPICE console'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l console -d 'open the serial console of the engine VM'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l check-deployed -d 'tell whether the hosted engine has been deployed'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l check-liveliness -d 'check the liveliness page of the engine'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l connect-storage -d 'connect the hosted engine\'s storage domain'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l disconnect-storage -d 'disconnect the hosted engine\'s storage domain'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l set-maintenance -d 'set the maintenance mode: global, local or none'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l set-shared-config -d 'set a key of the shared configuration'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l get-shared-config -d 'print a key of the shared configuration'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l reinitialize-lockspace -d 'make the lockspace, or lock file, anew where it can\'t be used'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l clean-metadata -d 'have all hosts forget a host'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l clean_metadata -d 'have all hosts forget a host'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine"' -l help -d 'show this help, or that of a command'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --deploy"' -l config-append -r -F -d 'load answers from this file'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --deploy"' -l generate-answer -r -F -d 'not supported'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --deploy"' -l restore-from-file -r -F -d 'not supported'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --deploy"' -l 4 -d 'not supported'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --deploy"' -l 6 -d 'not supported'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --deploy"' -l ansible-extra-vars -x -d 'not supported'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --deploy"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-start"' -l vm-conf -r -F -d 'not supported: see below'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-start"' -l wait -d 'wait until the engine is up; --timeout bounds it'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-start"' -l timeout -x -d 'give up after this; the default is 225, with --wait 900'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-start"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-start-paused"' -l timeout -x -d 'give up after this; the default is 225'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-start-paused"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-shutdown"' -l timeout -x -d 'give up after this; the default is 225'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-shutdown"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-poweroff"' -l timeout -x -d 'give up after this; the default is 225'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-poweroff"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-status"' -l json -d 'machine-readable'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-status"' -l watch -d 'again after each change, until interrupted'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-status"' -l wait -d 'wait until the engine is up; --timeout bounds it'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-status"' -l timeout -x -d 'give up after this; the default is 10, with --wait 900'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --vm-status"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --add-console-password"' -l password -x -d 'the password; all users of the host can see it'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --add-console-password"' -l spice -d 'for a SPICE console, not VNC'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --add-console-password"' -l timeout -x -d 'give up after this; the default is 50'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --add-console-password"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --console"' -l timeout -x -d 'give up after this; the default is 10'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --console"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --check-deployed"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --check-liveliness"' -l wait -d 'wait until it is up; --timeout bounds it'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --check-liveliness"' -l timeout -x -d 'give up after this; the default is 20, with --wait 900'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --check-liveliness"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --connect-storage"' -l timeout -x -d 'give up after this; the default is 610'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --connect-storage"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --disconnect-storage"' -l timeout -x -d 'give up after this; the default is 610'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --disconnect-storage"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --set-maintenance"' -l mode -x -a 'global local none' -d 'the mode; none clears all'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --set-maintenance"' -l wait -d 'wait until the agents have done what follows from it'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --set-maintenance"' -l timeout -x -d 'give up after this; the default is 45, with --wait 900'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --set-maintenance"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --set-shared-config"' -l type -x -a 'he_local he_shared ha broker' -d 'the file, where more than one has the key'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --set-shared-config"' -l timeout -x -d 'give up after this; the default is 305'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --set-shared-config"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --get-shared-config"' -l type -x -a 'he_local he_shared ha broker' -d 'the file, where more than one has the key'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --get-shared-config"' -l timeout -x -d 'give up after this; the default is 125'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --get-shared-config"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --reinitialize-lockspace"' -l force -d 'without looking at global maintenance and agents'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --reinitialize-lockspace"' -l timeout -x -d 'give up after this; the default is 300'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --reinitialize-lockspace"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --clean-metadata"' -l force-cleanup -d 'taken, but a host id in use stays in use'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --clean-metadata"' -l host-id -x -d 'which host; this one by default'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --clean-metadata"' -l timeout -x -d 'give up after this; the default is 60'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --clean-metadata"' -l help -d 'show this help, and end'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --clean_metadata"' -l force-cleanup -d 'taken, but a host id in use stays in use'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --clean_metadata"' -l host-id -x -d 'which host; this one by default'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --clean_metadata"' -l timeout -x -d 'give up after this; the default is 60'
complete -c hosted-engine -n '__hosted_engine_at "hosted-engine --clean_metadata"' -l help -d 'show this help, and end'
